{{/* What Flower alone has: the login of its page, and the management API of the bundled broker, for queue lengths. */}}
{{- define "synergyway.flowerEnv" -}}
{{- $env := list -}}
{{- with .Values.flower.basicAuth -}}
{{- if or .value .existingSecret -}}
{{- $reference := dict "name" (.existingSecret | default (include "synergyway.fullname" $)) "key" (empty .existingSecret | ternary "FLOWER_BASIC_AUTH" .existingSecretKey) -}}
{{- $env = append $env (dict "name" "FLOWER_BASIC_AUTH" "valueFrom" (dict "secretKeyRef" $reference)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.rabbitmq.enabled (not .Values.rabbitmq.auth.existingSecret) -}}
{{- $reference := dict "name" (include "synergyway.rabbitmq.fullname" .Subcharts.rabbitmq) "key" "management-uri" -}}
{{- $env = append $env (dict "name" "BROKER_MANAGEMENT" "valueFrom" (dict "secretKeyRef" $reference)) -}}
{{- $env = append $env (dict "name" "FLOWER_BROKER_API" "value" "$(BROKER_MANAGEMENT)/api/") -}}
{{- end -}}
{{- toYaml $env -}}
{{- end }}
