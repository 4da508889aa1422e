{{/*
A name of at most 63 characters from {name, suffix}. What is too long is cut, and a hash of the whole keeps two long names
from becoming one.
*/}}
{{- define "synergyway.cut" -}}
{{- $room := sub 63 (len .suffix) | int -}}
{{- if le (len .name) $room -}}
{{- .name }}{{ .suffix -}}
{{- else -}}
{{- .name | trunc (int (sub $room 9)) | trimSuffix "-" }}-{{ sha256sum .name | trunc 8 }}{{ .suffix -}}
{{- end -}}
{{- end }}

{{- define "synergyway.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* <release>-synergyway, or the release's name alone when that says synergyway already. At its full length. */}}
{{- define "synergyway.wholeName" -}}
{{- $name := include "synergyway.name" . -}}
{{- $whole := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $whole | replace "." "-" -}}
{{- end }}

{{/* The name of what belongs to all roles. */}}
{{- define "synergyway.fullname" -}}
{{- include "synergyway.cut" (dict "name" (include "synergyway.wholeName" .) "suffix" "") -}}
{{- end }}

{{/* The name of what belongs to one role, from {root, component}. */}}
{{- define "synergyway.componentName" -}}
{{- include "synergyway.cut" (dict "name" (include "synergyway.wholeName" .root) "suffix" (printf "-%s" .component)) -}}
{{- end }}

{{/* The labels by which a role's pods are found, from {root, component}. They never change. */}}
{{- define "synergyway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "synergyway.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The labels of every object, from {root, component}. */}}
{{- define "synergyway.labels" -}}
{{ include "synergyway.selectorLabels" . }}
app.kubernetes.io/version: {{ include "synergyway.version" .root | quote }}
app.kubernetes.io/part-of: synergyway
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Name, namespace, labels and annotations of an object, from {root, component} and, if wanted, name, labels, annotations. */}}
{{- define "synergyway.metadata" -}}
name: {{ .name | default (include "synergyway.componentName" .) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "synergyway.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The name of a role's ServiceAccount, from {root, component, role}. */}}
{{- define "synergyway.serviceAccountName" -}}
{{- with .role.serviceAccount -}}
{{- .name | default (.create | ternary (include "synergyway.componentName" $) "default") -}}
{{- end -}}
{{- end }}

{{/* How a metric comes to the label that dashboards and alerts tell releases apart by. */}}
{{- define "synergyway.releaseLabel" -}}
- targetLabel: release
  replacement: {{ .Release.Name }}
{{- end }}
