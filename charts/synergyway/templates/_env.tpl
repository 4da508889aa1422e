{{/*
The environment of a container, from {root, role, needs} and, if wanted, own (a list of variables that this role alone has)
and secret (the name of the chart's Secret). needs names what the container works with: database, broker, config. What extraEnv names is left out before it is added: a
server-side apply refuses a variable that is there twice.
*/}}
{{- define "synergyway.env" -}}
{{- $all := list -}}
{{- if has "database" .needs }}{{ $all = concat $all (include "synergyway.databaseEnv" . | fromYamlArray) }}{{ end -}}
{{- if has "broker" .needs }}{{ $all = concat $all (include "synergyway.brokerEnv" .root | fromYamlArray) }}{{ end -}}
{{- $all = concat $all (.own | default list) -}}
{{- $sources := list -}}
{{- if has "config" .needs -}}
{{- $sources = append $sources (dict "configMapRef" (dict "name" (include "synergyway.fullname" .root))) -}}
{{- $otel := .root.Values.otel -}}
{{- if $otel -}}
{{- /* What the dashboards' links tell the traces of releases apart by. */ -}}
{{- $here := printf "k8s.namespace.name=%s,synergyway.release=%s" .root.Release.Namespace .root.Release.Name -}}
{{- $otel = merge (dict "OTEL_RESOURCE_ATTRIBUTES" (list $here ($otel.OTEL_RESOURCE_ATTRIBUTES | default "") | compact | join ",")) $otel -}}
{{- end -}}
{{- range $name, $value := $otel }}{{ $all = append $all (dict "name" $name "value" (include "synergyway.text" $value)) }}{{ end -}}
{{- end -}}
{{- $extra := list -}}
{{- range .role.extraEnv }}{{ $extra = append $extra .name }}{{ end -}}
{{- $env := list -}}
{{- range $all }}{{ if not (has .name $extra) }}{{ $env = append $env . }}{{ end }}{{ end -}}
{{- with concat $env .role.extraEnv -}}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat $sources .role.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What only those have who ask for the token or show it, as a list of variables: the token, and whether readers need it. */}}
{{- define "synergyway.tokenEnv" -}}
{{- $env := list -}}
{{- with .Values.apiToken -}}
{{- if or .value .existingSecret -}}
{{- $reference := dict "name" (.existingSecret | default (include "synergyway.fullname" $)) "key" (empty .existingSecret | ternary "API_TOKEN" .existingSecretKey) -}}
{{- $env = append $env (dict "name" "API_TOKEN" "valueFrom" (dict "secretKeyRef" $reference)) -}}
{{- end -}}
{{- end -}}
{{- $env = append $env (dict "name" "READ_TOKEN_REQUIRED" "value" (include "synergyway.text" .Values.config.READ_TOKEN_REQUIRED | default "false")) -}}
{{- toYaml $env -}}
{{- end }}
