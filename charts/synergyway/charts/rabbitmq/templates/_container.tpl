{{/* What the node and the container that prepares its files have in common. */}}
{{- define "synergyway.rabbitmq.container" -}}
image: {{ include "synergyway.rabbitmq.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end }}

{{- define "synergyway.rabbitmq.secretKeyRef" -}}
valueFrom:
  secretKeyRef:
    name: {{ include "synergyway.rabbitmq.secretName" .root }}
    key: {{ .key }}
{{- end }}

{{- define "synergyway.rabbitmq.topologySpread" -}}
{{- range $key, $topology := dict "zone" "topology.kubernetes.io/zone" "host" "kubernetes.io/hostname" }}
{{- with get $.Values.topologySpread $key }}
- maxSkew: 1
  topologyKey: {{ $topology }}
  whenUnsatisfiable: {{ . }}
  labelSelector:
    matchLabels:
      {{- include "synergyway.rabbitmq.selectorLabels" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}
