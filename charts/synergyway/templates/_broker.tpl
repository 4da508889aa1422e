{{/*
How the roles reach the broker, as a list of environment variables. In this order: the bundled server; a Secret that holds
a URI; a Secret that holds parts; values.

User and password out of parts are variables of their own, which the application puts into the URI: Kubernetes cannot
percent-encode them.
*/}}
{{- define "synergyway.brokerEnv" -}}
{{- $external := .Values.externalBroker -}}
{{- $keys := $external.existingSecretKeys -}}
{{- if .Values.rabbitmq.enabled -}}
{{- include "synergyway.bundledBrokerEnv" .Subcharts.rabbitmq }}
{{- else if and $external.existingSecret (not $keys.password) -}}
- name: CELERY_BROKER_URL
  {{- include "synergyway.secretKeyRef" (dict "name" $external.existingSecret "key" $keys.uri) | nindent 2 }}
{{- else if $external.existingSecret -}}
{{- $values := include "synergyway.brokerParts" $external | fromYaml -}}
{{- $parts := dict -}}
{{- range $variable, $part := dict "BROKER_HOST" "host" "BROKER_PORT" "port" "BROKER_VHOST" "vhost" }}
{{- if get $keys $part }}
{{- $_ := set $parts $part (printf "$(%s)" $variable) }}
- name: {{ $variable }}
  {{- include "synergyway.secretKeyRef" (dict "name" $external.existingSecret "key" (get $keys $part)) | nindent 2 }}
{{- else }}
{{- $_ := set $parts $part (include "synergyway.encoded" (get $values $part)) }}
{{- end }}
{{- end }}
- name: CELERY_BROKER_URL
  value: {{ $external.scheme }}://{{ $parts.host }}:{{ $parts.port }}/{{ $parts.vhost }}
{{- if $keys.username }}
- name: CELERY_BROKER_USERNAME
  {{- include "synergyway.secretKeyRef" (dict "name" $external.existingSecret "key" $keys.username) | nindent 2 }}
{{- else if $external.username }}
- name: CELERY_BROKER_USERNAME
  value: {{ quote $external.username }}
{{- end }}
- name: CELERY_BROKER_PASSWORD
  {{- include "synergyway.secretKeyRef" (dict "name" $external.existingSecret "key" $keys.password) | nindent 2 }}
{{- else -}}
- name: CELERY_BROKER_URL
  {{- include "synergyway.secretKeyRef" (dict "name" (include "synergyway.fullname" .) "key" "CELERY_BROKER_URL") | nindent 2 }}
{{- end }}
- name: CELERY_RESULT_BACKEND
  {{- if and (not .Values.rabbitmq.enabled) $external.existingSecret $keys.resultBackend }}
  {{- include "synergyway.secretKeyRef" (dict "name" $external.existingSecret "key" $keys.resultBackend) | nindent 2 }}
  {{- else }}
  {{- include "synergyway.secretKeyRef" (dict "name" (include "synergyway.fullname" .) "key" "CELERY_RESULT_BACKEND") | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The same for the bundled server, from the subchart's root. */}}
{{- define "synergyway.bundledBrokerEnv" -}}
{{- $auth := .Values.auth -}}
{{- $name := include "synergyway.rabbitmq.fullname" . -}}
{{- if $auth.existingSecret -}}
- name: CELERY_BROKER_URL
  value: amqp://{{ $name }}:{{ .Values.service.port }}/{{ include "synergyway.encoded" $auth.vhost }}
- name: CELERY_BROKER_USERNAME
  value: {{ quote $auth.username }}
- name: CELERY_BROKER_PASSWORD
  {{- include "synergyway.secretKeyRef" (dict "name" $auth.existingSecret "key" $auth.existingSecretKeys.password) | nindent 2 }}
{{- else -}}
- name: CELERY_BROKER_URL
  {{- include "synergyway.secretKeyRef" (dict "name" $name "key" "uri") | nindent 2 }}
{{- end }}
{{- end }}

{{/* The parts of an external broker's address, from externalBroker: those left out are the scheme's own. */}}
{{- define "synergyway.brokerParts" -}}
{{- $redis := hasPrefix "redis" .scheme -}}
{{- $port := get (dict "amqp" 5672 "amqps" 5671 "redis" 6379 "rediss" 6379) .scheme -}}
{{- $own := dict "scheme" .scheme "host" .host "port" $port "username" .username "password" (include "synergyway.text" .password) "vhost" ($redis | ternary "0" "/") -}}
{{- range $part := list "port" "vhost" }}{{ with get $ $part }}{{ $_ := set $own $part . }}{{ end }}{{ end -}}
{{- toYaml $own -}}
{{- end }}

{{- define "synergyway.brokerUrlOfParts" -}}
{{ .scheme }}://{{ include "synergyway.authority" . }}/{{ include "synergyway.encoded" .vhost }}
{{- end }}

{{/* CELERY_BROKER_URL from values, for the Secret. Empty when it comes from elsewhere. */}}
{{- define "synergyway.brokerUrl" -}}
{{- with .Values.externalBroker -}}
{{- if and (not $.Values.rabbitmq.enabled) (not .existingSecret) -}}
{{- .url | default (include "synergyway.brokerUrlOfParts" (include "synergyway.brokerParts" . | fromYaml)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* CELERY_RESULT_BACKEND: what was asked for, else Redis itself with a broker on Redis, else rpc. */}}
{{- define "synergyway.resultBackend" -}}
{{- $broker := include "synergyway.brokerUrl" . -}}
{{- $own := regexMatch "^rediss?://" $broker | ternary $broker "rpc://" -}}
{{- .Values.externalBroker.resultBackend | default $own -}}
{{- end }}
