{{/*
How the roles reach the database, as a list of environment variables, from {root} and, if wanted, secret: the name of the
chart's Secret. In this order: the bundled server; a Secret that holds a URI; a Secret that holds parts; values.

Parts go to libpq's own variables and not into the URI: Kubernetes cannot percent-encode a password.
*/}}
{{- define "synergyway.databaseEnv" -}}
{{- $external := .root.Values.externalDatabase -}}
{{- $keys := $external.existingSecretKeys -}}
{{- if .root.Values.postgresql.enabled -}}
{{- include "synergyway.bundledDatabaseEnv" .root.Subcharts.postgresql }}
{{- else if and $external.existingSecret (not $keys.password) -}}
- name: DATABASE_URL
  {{- include "synergyway.secretKeyRef" (dict "name" $external.existingSecret "key" $keys.uri) | nindent 2 }}
{{- else if $external.existingSecret -}}
- name: DATABASE_URL
  value: postgresql+psycopg://
{{- range $variable, $part := dict "PGHOST" "host" "PGPORT" "port" "PGUSER" "username" "PGPASSWORD" "password" "PGDATABASE" "database" }}
{{- if get $keys $part }}
- name: {{ $variable }}
  {{- include "synergyway.secretKeyRef" (dict "name" $external.existingSecret "key" (get $keys $part)) | nindent 2 }}
{{- else if ne $part "password" }}
- name: {{ $variable }}
  value: {{ include "synergyway.text" (get $external $part) | quote }}
{{- end }}
{{- end }}
{{- else -}}
- name: DATABASE_URL
  {{- include "synergyway.secretKeyRef" (dict "name" (.secret | default (include "synergyway.fullname" .root)) "key" "DATABASE_URL") | nindent 2 }}
{{- end }}
{{- if not .root.Values.postgresql.enabled }}
{{- with $external.sslmode }}
- name: PGSSLMODE
  value: {{ . }}
{{- end }}
{{- if include "synergyway.databaseCa" .root }}
- name: PGSSLROOTCERT
  value: /etc/synergyway/database-ca/{{ $external.sslRootCert.key }}
{{- end }}
{{- end }}
{{- end }}

{{/* The same for the bundled server, from the subchart's root. */}}
{{- define "synergyway.bundledDatabaseEnv" -}}
{{- $auth := .Values.auth -}}
- name: DATABASE_URL
{{- if $auth.existingSecret }}
  value: postgresql+psycopg://{{ include "synergyway.authority" (dict "username" $auth.username "password" "" "host" (include "synergyway.postgresql.fullname" .) "port" .Values.service.port) }}/{{ $auth.database }}
- name: PGPASSWORD
  {{- include "synergyway.secretKeyRef" (dict "name" $auth.existingSecret "key" $auth.existingSecretKeys.password) | nindent 2 }}
{{- else }}
  {{- include "synergyway.secretKeyRef" (dict "name" (include "synergyway.postgresql.fullname" .) "key" "uri") | nindent 2 }}
{{- end }}
{{- end }}

{{/* DATABASE_URL from values, for the Secret. Empty when it comes from elsewhere. */}}
{{- define "synergyway.databaseUrl" -}}
{{- with .Values.externalDatabase -}}
{{- if and (not $.Values.postgresql.enabled) (not .existingSecret) -}}
{{- .url | default (printf "postgresql+psycopg://%s/%s" (include "synergyway.authority" .) (include "synergyway.encoded" .database)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The volume with the authorities that an external database's certificate is checked against; empty when there is none. */}}
{{- define "synergyway.databaseCa" -}}
{{- with .Values.externalDatabase.sslRootCert -}}
{{- if and (not $.Values.postgresql.enabled) (or .secretName .configMapName) -}}
name: database-ca
{{- if .secretName }}
secret:
  secretName: {{ .secretName }}
{{- else }}
configMap:
  name: {{ .configMapName }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "synergyway.secretKeyRef" -}}
valueFrom:
  secretKeyRef:
    name: {{ .name }}
    key: {{ .key }}
{{- end }}
