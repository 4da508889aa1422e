{{/*
The data of the ConfigMap: what `config` sets, and the addresses of the sample provider where it names none. Without what is
the api's alone: elsewhere it would ask for a token that only the api has.
*/}}
{{- define "synergyway.configuration" -}}
{{- range $variable, $value := omit .Values.config "READ_TOKEN_REQUIRED" }}
{{- $text := include "synergyway.text" $value }}
{{- if and (not $text) (hasSuffix "_API_URL" $variable) $.Values.dummyjson.enabled }}
{{- $text = printf "http://%s:%d/users" (include "synergyway.componentName" (dict "root" $ "component" "dummyjson")) (int $.Values.dummyjson.service.port) }}
{{- end }}
{{- with $text }}
{{ $variable }}: {{ quote . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The data of the Secret. Nothing in it is generated, so that its checksum changes with the values alone. */}}
{{- define "synergyway.secretData" -}}
CELERY_RESULT_BACKEND: {{ include "synergyway.resultBackend" . | b64enc }}
{{- with include "synergyway.databaseUrl" . }}
DATABASE_URL: {{ b64enc . }}
{{- end }}
{{- with include "synergyway.brokerUrl" . }}
CELERY_BROKER_URL: {{ b64enc . }}
{{- end }}
{{- with include "synergyway.text" .Values.apiToken.value }}
API_TOKEN: {{ b64enc . }}
{{- end }}
{{- with include "synergyway.text" .Values.flower.basicAuth.value }}
FLOWER_BASIC_AUTH: {{ b64enc . }}
{{- end }}
{{- end }}

{{/* Changes when a pod has to start anew to see a change of the values. */}}
{{- define "synergyway.checksums" -}}
checksum/config: {{ include "synergyway.configuration" . | sha256sum }}
checksum/secret: {{ printf "%s%s%s" (include "synergyway.secretData" .) (toJson .Values.postgresql.auth) (toJson .Values.rabbitmq.auth) | sha256sum }}
{{- end }}
