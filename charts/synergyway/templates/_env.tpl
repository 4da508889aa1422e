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
{{- range $name, $value := .root.Values.otel }}{{ $all = append $all (dict "name" $name "value" (include "synergyway.text" $value)) }}{{ end -}}
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

{{/* The bearer token of POST /runs, when there is one: the api alone has it. */}}
{{- define "synergyway.apiTokenEnv" -}}
{{- with .Values.apiToken -}}
{{- if or .value .existingSecret -}}
- name: API_TOKEN
  {{- include "synergyway.secretKeyRef" (dict "name" (.existingSecret | default (include "synergyway.fullname" $)) "key" (empty .existingSecret | ternary "API_TOKEN" .existingSecretKey)) | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end }}
