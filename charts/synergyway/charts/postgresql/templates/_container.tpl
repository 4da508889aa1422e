{{/* What the server and the container that prepares its volume have in common. */}}
{{- define "synergyway.postgresql.container" -}}
image: {{ include "synergyway.postgresql.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: POSTGRES_USER
    value: {{ .Values.auth.username | quote }}
  - name: POSTGRES_DB
    value: {{ .Values.auth.database | quote }}
  - name: POSTGRES_PASSWORD
    valueFrom:
      secretKeyRef:
        name: {{ include "synergyway.postgresql.secretName" . }}
        key: {{ empty .Values.auth.existingSecret | ternary "password" .Values.auth.existingSecretKeys.password }}
  # What psql and pg_isready go by: each probe of a role that does not exist would be an error in the log.
  - name: PGUSER
    value: {{ .Values.auth.username | quote }}
  - name: PGDATABASE
    value: {{ .Values.auth.database | quote }}
  # Below the mount: a volume's own root may hold lost+found, which initdb refuses.
  - name: PGDATA
    value: /var/lib/postgresql/data/pgdata
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - name: data
    mountPath: /var/lib/postgresql/data
  - name: tmp
    mountPath: /tmp
  - name: run
    mountPath: /var/run/postgresql
  - name: shared-memory
    mountPath: /dev/shm
{{- end }}
