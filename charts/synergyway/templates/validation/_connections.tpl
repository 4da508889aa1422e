{{/* Each of these prints one sentence a line for what is wrong, and nothing when all is well. */}}

{{- define "synergyway.validate.names" }}
{{- if regexMatch "^[0-9]" (include "synergyway.wholeName" .) }}
The release is called {{ .Release.Name }}, and a Service's name must start with a letter: choose another name, or set fullnameOverride, postgresql.fullnameOverride and rabbitmq.fullnameOverride.
{{- end }}
{{- end }}

{{- define "synergyway.validate.database" }}
{{- $external := .Values.externalDatabase }}
{{- $keys := $external.existingSecretKeys }}
{{- $given := or $external.url $external.host $external.existingSecret }}
{{- if and .Values.postgresql.enabled $given }}
postgresql.enabled is true and externalDatabase names another database: set postgresql.enabled to false to use that one, or leave externalDatabase empty.
{{- else if not (or .Values.postgresql.enabled $given) }}
There is no database: set postgresql.enabled to true, or externalDatabase.url, externalDatabase.host or externalDatabase.existingSecret.
{{- else if not .Values.postgresql.enabled }}
{{- if and $external.url (or $external.host $external.existingSecret) }}
externalDatabase.url is the whole address: leave externalDatabase.host and externalDatabase.existingSecret empty, or leave out the url.
{{- else if and $external.url (not (regexMatch "^postgres(ql)?([+]psycopg)?://" $external.url)) }}
externalDatabase.url must start with postgresql://: use PostgreSQL, the only database that several pods can share here.
{{- end }}
{{- if $external.existingSecret }}
{{- if $external.password }}
externalDatabase has both a password and an existingSecret: keep one of them.
{{- end }}
{{- if not (or $keys.uri $keys.password) }}
externalDatabase.existingSecret is {{ $external.existingSecret }}, but no key in it is named: set externalDatabase.existingSecretKeys.uri to the key of a whole URI, or existingSecretKeys.password and those of the other parts that it holds.
{{- else if and (not $keys.password) (or $keys.host $keys.port $keys.username $keys.database) }}
externalDatabase.existingSecretKeys names parts of an address and no password: set existingSecretKeys.password, or leave the parts out where the Secret holds a whole URI.
{{- else if and (not $keys.password) $external.host }}
externalDatabase.host is set, and so is an existingSecret that holds a whole URI: leave the host out, or set externalDatabase.existingSecretKeys.password where the Secret holds parts.
{{- else if and $keys.password (not (and (or $keys.host $external.host) (or $keys.username $external.username))) }}
externalDatabase.existingSecret holds parts, and host or username is missing: set externalDatabase.host and username, or the keys in externalDatabase.existingSecretKeys.
{{- end }}
{{- else if and $external.host (not $external.username) }}
externalDatabase.username is empty: set it, or give the whole address as externalDatabase.url.
{{- end }}
{{- include "synergyway.validate.tls" . }}
{{- end }}
{{- end }}

{{- define "synergyway.validate.tls" }}
{{- $external := .Values.externalDatabase }}
{{- $ca := or $external.sslRootCert.secretName $external.sslRootCert.configMapName }}
{{- if and $external.sslRootCert.secretName $external.sslRootCert.configMapName }}
externalDatabase.sslRootCert names both a Secret and a ConfigMap: keep one of them.
{{- end }}
{{- if and (hasPrefix "verify-" $external.sslmode) (not $ca) (not (contains "sslrootcert=" $external.url)) }}
externalDatabase.sslmode is {{ $external.sslmode }}, and there are no authorities to check the certificate against: set externalDatabase.sslRootCert.secretName or configMapName.
{{- end }}
{{- if and $ca (not $external.sslmode) (not $external.url) (or (not $external.existingSecret) $external.existingSecretKeys.password) }}
externalDatabase.sslRootCert is set, and sslmode is empty, so that nothing would be checked: set externalDatabase.sslmode to verify-full.
{{- end }}
{{- if and $external.sslmode (contains "sslmode=" $external.url) (not (contains (printf "sslmode=%s" $external.sslmode) $external.url)) }}
externalDatabase.sslmode is {{ $external.sslmode }}, and externalDatabase.url says otherwise: leave one of them out.
{{- end }}
{{- end }}

{{- define "synergyway.validate.broker" }}
{{- $external := .Values.externalBroker }}
{{- $keys := $external.existingSecretKeys }}
{{- $given := or $external.url $external.host $external.existingSecret }}
{{- if and .Values.rabbitmq.enabled $given }}
rabbitmq.enabled is true and externalBroker names another broker: set rabbitmq.enabled to false to use that one, or leave externalBroker empty.
{{- else if not (or .Values.rabbitmq.enabled $given) }}
There is no broker: set rabbitmq.enabled to true, or externalBroker.url, externalBroker.host or externalBroker.existingSecret.
{{- else if not .Values.rabbitmq.enabled }}
{{- if and $external.url (or $external.host $external.existingSecret) }}
externalBroker.url is the whole address: leave externalBroker.host and externalBroker.existingSecret empty, or leave out the url.
{{- else if and $external.url (not (regexMatch "^(amqps?|rediss?)://" $external.url)) }}
externalBroker.url must start with amqp://, amqps://, redis:// or rediss://: write the scheme in front of the host.
{{- end }}
{{- if $external.existingSecret }}
{{- if $external.password }}
externalBroker has both a password and an existingSecret: keep one of them.
{{- end }}
{{- if not (or $keys.uri $keys.password) }}
externalBroker.existingSecret is {{ $external.existingSecret }}, but no key in it is named: set externalBroker.existingSecretKeys.uri to the key of a whole URI, or existingSecretKeys.password and those of the other parts that it holds.
{{- else if and (not $keys.password) (or $keys.host $keys.port $keys.username $keys.vhost) }}
externalBroker.existingSecretKeys names parts of an address and no password: set existingSecretKeys.password, or leave the parts out where the Secret holds a whole URI.
{{- else if and (not $keys.password) $external.host }}
externalBroker.host is set, and so is an existingSecret that holds a whole URI: leave the host out, or set externalBroker.existingSecretKeys.password where the Secret holds parts.
{{- else if and $keys.password (not (or $keys.host $external.host)) }}
externalBroker.existingSecret holds parts, and the host is missing: set externalBroker.host, or its key in externalBroker.existingSecretKeys.
{{- else if and $keys.password (hasPrefix "amqp" $external.scheme) (not (or $keys.username $external.username)) }}
externalBroker.existingSecret holds parts, and the user is missing: set externalBroker.username, or its key in externalBroker.existingSecretKeys.
{{- end }}
{{- else if and $external.host (hasPrefix "amqp" $external.scheme) (not $external.username) }}
externalBroker.username is empty: set it, or give the whole address as externalBroker.url.
{{- end }}
{{- end }}
{{- end }}

{{- define "synergyway.validate.secrets" }}
{{- $subcharts := dict "postgresql" (list "password") "rabbitmq" (list "password" "erlangCookie") }}
{{- range $name, $secrets := $subcharts }}
{{- $auth := (get $.Values $name).auth }}
{{- range $secret := $secrets }}
{{- $value := include "synergyway.text" (get $auth $secret) }}
{{- if and (get $.Values $name).enabled (not $.Values.secrets.generate) (not $value) (not $auth.existingSecret) }}
secrets.generate is false, and {{ $name }}.auth.{{ $secret }} is not given: set it with --set-string, or name a Secret that holds it in {{ $name }}.auth.existingSecret.
{{- end }}
{{- if and (get $.Values $name).enabled $value $auth.existingSecret }}
{{ $name }}.auth has both {{ $secret }} and existingSecret: keep one of them.
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.apiToken.value .Values.apiToken.existingSecret }}
apiToken has both a value and an existingSecret: keep one of them.
{{- end }}
{{- if and .Values.flower.basicAuth.value .Values.flower.basicAuth.existingSecret }}
flower.basicAuth has both a value and an existingSecret: keep one of them.
{{- end }}
{{- if and .Values.config.READ_TOKEN_REQUIRED (not (or .Values.apiToken.value .Values.apiToken.existingSecret)) }}
config.READ_TOKEN_REQUIRED is true, and there is no token: set apiToken.value or apiToken.existingSecret.
{{- end }}
{{- end }}

{{- define "synergyway.validate.migrations" }}
{{- if and (eq .Values.migrations.mode "hook") .Values.postgresql.enabled }}
migrations.mode is hook with the bundled PostgreSQL: the hook would wait for a database that is installed only after it. Set migrations.mode to job, or postgresql.enabled to false.
{{- end }}
{{- end }}
