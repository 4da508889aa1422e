{{/*
A role's Deployment, from what synergyway.podTemplate takes and, if wanted, strategy. The replicas are left out when an
autoscaler owns them: a server-side apply would take them back.
*/}}
{{- define "synergyway.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "synergyway.metadata" . | nindent 2 }}
spec:
  {{- if not (include "synergyway.autoscaled" .) }}
  replicas: {{ int .role.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    {{- toYaml (.strategy | default .role.strategy | default (dict "type" "RollingUpdate" "rollingUpdate" (dict "maxSurge" "25%" "maxUnavailable" 0))) | nindent 4 }}
  selector:
    matchLabels:
      {{- include "synergyway.selectorLabels" . | nindent 6 }}
  template:
    {{- include "synergyway.podTemplate" . | nindent 4 }}
{{- end }}
