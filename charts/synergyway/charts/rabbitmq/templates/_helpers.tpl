{{/*
The name of all objects: the release's and the chart's, at most 52 characters, which is what a StatefulSet's pods can bear.
What is too long is cut, and a hash of the whole keeps two long names from becoming one.
*/}}
{{- define "synergyway.rabbitmq.fullname" -}}
{{- $suffix := empty .Values.fullnameOverride | ternary (printf "-%s" (.Values.nameOverride | default "rabbitmq")) "" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name | replace "." "-" -}}
{{- $room := sub 52 (len $suffix) | int -}}
{{- if gt (len $name) $room -}}
{{- $name = printf "%s-%s" ($name | trunc (int (sub $room 9)) | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- $name }}{{ $suffix -}}
{{- end }}

{{/* The labels by which pods are found. They never change. */}}
{{- define "synergyway.rabbitmq.selectorLabels" -}}
app.kubernetes.io/name: rabbitmq
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: broker
{{- end }}

{{- define "synergyway.rabbitmq.labels" -}}
{{ include "synergyway.rabbitmq.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | toString | trunc 63 | quote }}
app.kubernetes.io/part-of: synergyway
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "synergyway.rabbitmq.image" -}}
{{- with .Values.image -}}
{{- if .registry }}{{ .registry }}/{{ end }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The Secret that holds the password: the operator's own, or ours. */}}
{{- define "synergyway.rabbitmq.secretName" -}}
{{- .Values.auth.existingSecret | default (include "synergyway.rabbitmq.fullname" .) -}}
{{- end }}

{{/* A value that may have been typed as a number, as text: 12345 and not 1.2345e+04. */}}
{{- define "synergyway.rabbitmq.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else if not (kindIs "invalid" .) }}{{ toJson . }}{{ end -}}
{{- end }}

{{/* Percent-encoded for a URI. urlquery writes a space as "+", which only a query understands. */}}
{{- define "synergyway.rabbitmq.encoded" -}}
{{- urlquery . | replace "+" "%20" -}}
{{- end }}

{{- define "synergyway.rabbitmq.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "synergyway.rabbitmq.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{/* The part of a node's name after the pod's. Never an address: a node with a new name is an empty one. */}}
{{- define "synergyway.rabbitmq.domain" -}}
{{ include "synergyway.rabbitmq.fullname" . }}-headless.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{/* Since 4.1 the discovery for Kubernetes needs no API server, and node 0 alone may found a cluster. */}}
{{- define "synergyway.rabbitmq.peerDiscovery" -}}
{{- .Values.peerDiscovery | default (hasPrefix "4.0" .Values.image.tag | ternary "static" "kubernetes") -}}
{{- end }}

{{/* A quantity of memory in bytes: 1Gi is 1073741824. */}}
{{- define "synergyway.rabbitmq.bytes" -}}
{{- $text := include "synergyway.rabbitmq.text" . -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- if not (and (hasKey $units $unit) (regexMatch "^[0-9]+(\\.[0-9]+)?[A-Za-z]*$" $text)) -}}
{{- fail (printf "rabbitmq.resources.limits.memory is %s: write it in Mi or Gi, for example 1Gi." $text) -}}
{{- end -}}
{{- printf "%.0f" (mulf (trimSuffix $unit $text | float64) (get $units $unit)) -}}
{{- end }}
