{{/*
A role's pod, once for all of them. From {root, component, role, needs, container}: role is the role's block of values, needs a
list of what it works with (database, broker, config), container what is the main container's own: command, ports,
lifecycle. If wanted: own and secret (see synergyway.env), restartPolicy.
*/}}
{{- define "synergyway.podTemplate" -}}
{{- $role := .role -}}
{{- $waits := and (has .component (list "api" "worker" "beat")) .root.Values.migrations.wait -}}
metadata:
  labels:
    {{- include "synergyway.selectorLabels" . | nindent 4 }}
    app.kubernetes.io/part-of: synergyway
    {{- with merge (dict) $role.podLabels .root.Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $checksums := has "config" .needs | ternary (include "synergyway.checksums" .root | fromYaml) dict }}
  {{- with merge (dict) $role.podAnnotations $checksums .root.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "synergyway.serviceAccountName" . }}
  automountServiceAccountToken: false
  # A Service's name must not set a variable that the application reads.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int $role.terminationGracePeriodSeconds }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with $role.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- include "synergyway.over" (list .root.Values.podSecurityContext $role.podSecurityContext) | nindent 4 }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- if or $waits $role.extraInitContainers }}
  initContainers:
    {{- if $waits }}
    {{- include "synergyway.waitForSchema" . | nindent 4 }}
    {{- end }}
    {{- with $role.extraInitContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .component }}
      {{- include "synergyway.container" . | nindent 6 }}
      {{- include "synergyway.env" . | nindent 6 }}
      resources:
        {{- toYaml $role.resources | nindent 8 }}
      {{- toYaml .container | nindent 6 }}
      {{- with $role.args }}
      args:
        {{- range . }}
        - {{ include "synergyway.text" . | quote }}
        {{- end }}
      {{- end }}
      {{- range $probe, $spec := $role.probes }}
      {{- with $spec }}
      {{ $probe }}Probe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
    {{- with $role.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $role.extraPodSpec }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with include "synergyway.scheduling" . }}
  {{- trim . | nindent 2 }}
  {{- end }}
  volumes:
    - name: tmp
      emptyDir: {medium: Memory, sizeLimit: 64Mi}
    {{- if has "database" .needs }}
    {{- with include "synergyway.databaseCa" .root }}
    - {{ nindent 6 . | trim }}
    {{- end }}
    {{- end }}
    {{- with $role.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* What all containers of the image have in common. */}}
{{- define "synergyway.container" -}}
image: {{ include "synergyway.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- include "synergyway.over" (list .root.Values.securityContext .role.securityContext) | nindent 2 }}
volumeMounts:
  # The one folder that can be written. In memory, so that neither heartbeat nor metrics wait for a disk.
  - name: tmp
    mountPath: /tmp
  {{- if and (has "database" .needs) (include "synergyway.databaseCa" .root) }}
  - name: database-ca
    mountPath: /etc/synergyway/database-ca
    readOnly: true
  {{- end }}
  {{- with .role.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Holds a role back until the database has the schema that this image knows, or a later one. */}}
{{- define "synergyway.waitForSchema" -}}
- name: wait-for-schema
  {{- include "synergyway.container" . | nindent 2 }}
  {{- include "synergyway.env" (dict "root" .root "role" .role "needs" (list "database")) | nindent 2 }}
  resources:
    {{- toYaml .root.Values.migrations.resources | nindent 4 }}
  # For a day, while it says why: after a shorter time the kubelet would only start it again.
  command: [python, -m, app, wait-for-schema, --timeout, "86400"]
{{- end }}
