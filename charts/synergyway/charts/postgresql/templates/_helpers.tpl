{{/*
The name of all objects: the release's and the chart's, at most 52 characters, which is what a StatefulSet's pods can bear.
What is too long is cut, and a hash of the whole keeps two long names from becoming one.
*/}}
{{- define "synergyway.postgresql.fullname" -}}
{{- $suffix := empty .Values.fullnameOverride | ternary (printf "-%s" (.Values.nameOverride | default "postgresql")) "" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name | replace "." "-" -}}
{{- $room := sub 52 (len $suffix) | int -}}
{{- if gt (len $name) $room -}}
{{- $name = printf "%s-%s" ($name | trunc (int (sub $room 9)) | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- $name }}{{ $suffix -}}
{{- end }}

{{/* The labels by which pods are found. They never change. */}}
{{- define "synergyway.postgresql.selectorLabels" -}}
app.kubernetes.io/name: postgresql
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: database
{{- end }}

{{- define "synergyway.postgresql.labels" -}}
{{ include "synergyway.postgresql.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | toString | trunc 63 | quote }}
app.kubernetes.io/part-of: synergyway
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "synergyway.postgresql.image" -}}
{{- with .Values.image -}}
{{- if .registry }}{{ .registry }}/{{ end }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The Secret that holds the password: the operator's own, or ours. */}}
{{- define "synergyway.postgresql.secretName" -}}
{{- .Values.auth.existingSecret | default (include "synergyway.postgresql.fullname" .) -}}
{{- end }}

{{/* A value that may have been typed as a number, as text: 12345 and not 1.2345e+04. */}}
{{- define "synergyway.postgresql.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else if not (kindIs "invalid" .) }}{{ toJson . }}{{ end -}}
{{- end }}

{{/* Percent-encoded for a URI. urlquery writes a space as "+", which only a query understands. */}}
{{- define "synergyway.postgresql.encoded" -}}
{{- urlquery . | replace "+" "%20" -}}
{{- end }}

{{- define "synergyway.postgresql.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "synergyway.postgresql.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end }}
