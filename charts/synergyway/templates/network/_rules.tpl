{{/* A peer: the pods of the roles, from {root, components}. */}}
{{- define "synergyway.networkPods" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ include "synergyway.name" .root }}
      app.kubernetes.io/instance: {{ .root.Release.Name }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: [{{ join ", " .components }}]}
{{- end }}

{{/* A peer: the pods of a bundled server, from the labels that its Service selects. */}}
{{- define "synergyway.networkServer" -}}
- podSelector:
    matchLabels:
      {{- . | nindent 6 }}
{{- end }}

{{/* Who may call a role's pods, from {root, component}. */}}
{{- define "synergyway.networkIngress" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- if eq .component "api" }}
- ports: [{port: http}]
  {{- with $policy.apiFrom }}
  from:
    {{- toYaml . | nindent 4 }}
    {{- include "synergyway.networkPods" (dict "root" $.root "components" (list "test")) | nindent 4 }}
  {{- end }}
{{- end }}
{{- if has .component (list "api" "worker" "beat") }}
- ports: [{port: metrics}]
  {{- with $policy.metricsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- if eq .component "dummyjson" }}
- ports: [{port: http}]
  from:
    {{- include "synergyway.networkPods" (dict "root" .root "components" (list "worker")) | nindent 4 }}
{{- end }}
{{- end }}

{{/* Where a role's pods may go, from {root, component}. */}}
{{- define "synergyway.networkEgress" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $values := .root.Values -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- if has .component (list "api" "worker" "beat" "migrate" "test") }}
{{- $server := $values.postgresql.enabled | ternary (dict "postgresql" .root.Subcharts.postgresql) dict }}
{{- include "synergyway.networkToServer" (dict "root" .root "server" (get $server "postgresql") "template" "synergyway.postgresql.selectorLabels" "port" 5432 "external" (include "synergyway.databasePort" .root)) }}
{{- end }}
{{- if has .component (list "api" "worker" "beat" "flower" "test") }}
{{- $server := $values.rabbitmq.enabled | ternary (dict "rabbitmq" .root.Subcharts.rabbitmq) dict }}
{{- include "synergyway.networkToServer" (dict "root" .root "server" (get $server "rabbitmq") "template" "synergyway.rabbitmq.selectorLabels" "port" 5672 "external" (include "synergyway.brokerPort" .root)) }}
{{- end }}
{{- if and (eq .component "flower") $values.rabbitmq.enabled }}
- ports: [{port: 15672}]
  to:
    {{- include "synergyway.networkServer" (include "synergyway.rabbitmq.selectorLabels" .root.Subcharts.rabbitmq) | nindent 4 }}
{{- end }}
{{- if and (eq .component "worker") $values.dummyjson.enabled }}
- ports: [{port: 8080}]
  to:
    {{- include "synergyway.networkPods" (dict "root" .root "components" (list "dummyjson")) | nindent 4 }}
{{- end }}
{{- if and (eq .component "worker") (or $values.config.USERS_API_URL $values.config.ADDRESS_API_URL $values.config.CREDIT_CARD_API_URL) }}
- ports:
    {{- range $policy.providerPorts }}
    - port: {{ int . }}
    {{- end }}
  to:
    {{- range $policy.providerCidrs }}
    - ipBlock: {cidr: {{ quote . }}}
    {{- end }}
{{- end }}
{{- if eq .component "test" }}
- ports: [{port: 8000}]
  to:
    {{- include "synergyway.networkPods" (dict "root" .root "components" (list "api")) | nindent 4 }}
{{- end }}
{{- with $policy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The port in a URI, or nothing. */}}
{{- define "synergyway.portOf" -}}
{{- regexReplaceAll "^[^:]+://([^/]*@)?([^/?]*).*$" . "${2}" | regexFind ":[0-9]+$" | trimPrefix ":" -}}
{{- end }}

{{/* The port of an external database: what its address says, as far as the chart sees it, else what the policy says. */}}
{{- define "synergyway.databasePort" -}}
{{- with .Values.externalDatabase -}}
{{- if .url }}{{ include "synergyway.portOf" .url | default "5432" }}
{{- else if or (not .existingSecret) (and .existingSecretKeys.password (not .existingSecretKeys.port)) }}{{ int .port }}
{{- else }}{{ int $.Values.networkPolicy.databasePort }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The same for an external broker. */}}
{{- define "synergyway.brokerPort" -}}
{{- with .Values.externalBroker -}}
{{- $parts := include "synergyway.brokerParts" (merge (dict "scheme" (.url | default .scheme | regexFind "^[a-z]+")) .) | fromYaml -}}
{{- if .url }}{{ include "synergyway.portOf" .url | default (int $parts.port | toString) }}
{{- else if or (not .existingSecret) (and .existingSecretKeys.password (not .existingSecretKeys.port)) }}{{ int $parts.port }}
{{- else }}{{ int $.Values.networkPolicy.brokerPort }}{{ end -}}
{{- end -}}
{{- end }}

{{/* A rule to a bundled server, or to an external one, from {root, server, template, port, external}. */}}
{{- define "synergyway.networkToServer" }}
- ports: [{port: {{ empty .server | ternary (int .external) .port }}}]
  to:
    {{- if .server }}
    {{- include "synergyway.networkServer" (include .template .server) | nindent 4 }}
    {{- else }}
    {{- range .root.Values.networkPolicy.externalCidrs }}
    - ipBlock: {cidr: {{ quote . }}}
    {{- end }}
    {{- end }}
{{- end }}
