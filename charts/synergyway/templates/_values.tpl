{{/* A value as text: a number as it was typed, 20000000 and not 2e+07; nothing for null. */}}
{{- define "synergyway.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else if not (kindIs "invalid" .) }}{{ toJson . }}{{ end -}}
{{- end }}

{{/* Percent-encoded for a URI. urlquery writes a space as "+", which only a query understands. */}}
{{- define "synergyway.encoded" -}}
{{- include "synergyway.text" . | urlquery | replace "+" "%20" -}}
{{- end }}

{{/* user:password@host:port for a URI, from {username, password, host, port}. */}}
{{- define "synergyway.authority" -}}
{{- with .username }}{{ include "synergyway.encoded" . }}{{ end -}}
{{- with include "synergyway.encoded" .password }}:{{ . }}{{ end -}}
{{- if or .username .password }}@{{ end -}}
{{- .host }}:{{ int .port -}}
{{- end }}

{{/* What runs: the tag, or the chart's version of the application, as a label can bear it. */}}
{{- define "synergyway.version" -}}
{{- include "synergyway.text" .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." -}}
{{- end }}

{{- define "synergyway.image" -}}
{{- with .Values.image -}}
{{- if .registry }}{{ .registry }}/{{ end }}{{ .repository -}}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ include "synergyway.text" .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{/* Whether an autoscaler owns a role's replicas: then they are not rendered. From {role}. */}}
{{- define "synergyway.autoscaled" -}}
{{- if or (.role.autoscaling | default dict).enabled (.role.keda | default dict).enabled }}true{{ end -}}
{{- end }}

{{/* The first map with the second one's keys over it. merge would not let a false or a 0 through. */}}
{{- define "synergyway.over" -}}
{{- $result := deepCopy (first .) -}}
{{- range $key, $value := last . }}{{ $_ := set $result $key $value }}{{ end -}}
{{- toYaml $result -}}
{{- end }}

{{/* The container port of the metrics, as a list: empty when they are switched off. */}}
{{- define "synergyway.metricsPorts" -}}
{{- with int .Values.config.METRICS_PORT -}}
- name: metrics
  containerPort: {{ . }}
{{- else -}}
[]
{{- end -}}
{{- end }}
