{{/* Each of these prints one sentence a line for what is wrong, and nothing when all is well. */}}

{{/* A number of config, or the application's own default when it was taken out, from {root, name, default}. */}}
{{- define "synergyway.setting" -}}
{{- $value := get .root.Values.config .name -}}
{{- kindIs "invalid" $value | ternary .default $value -}}
{{- end }}

{{- define "synergyway.validate.timeouts" }}
{{- $limit := include "synergyway.setting" (dict "root" . "name" "TASK_TIME_LIMIT_SECONDS" "default" 300) | int }}
{{- $soft := include "synergyway.setting" (dict "root" . "name" "TASK_SOFT_TIME_LIMIT_SECONDS" "default" 270) | int }}
{{- $chunk := include "synergyway.setting" (dict "root" . "name" "CHUNK_SECONDS" "default" 10) | float64 }}
{{- $lease := include "synergyway.setting" (dict "root" . "name" "CHUNK_LEASE_SECONDS" "default" 60) | float64 }}
{{- $connect := include "synergyway.setting" (dict "root" . "name" "PROVIDER_CONNECT_TIMEOUT_SECONDS" "default" 3) | float64 }}
{{- $answer := include "synergyway.setting" (dict "root" . "name" "PROVIDER_TIMEOUT_SECONDS" "default" 10) | float64 }}
{{- $slowest := maxf (addf $chunk (mulf 2 (addf $connect $answer))) (mulf 4 (addf $connect $answer)) }}
{{- with .Values.api }}
{{- $both := add .preStopSleepSeconds .gracefulShutdownSeconds | int }}
{{- if and .enabled (lt (int .terminationGracePeriodSeconds) (add $both 5 | int)) }}
api.terminationGracePeriodSeconds is {{ int .terminationGracePeriodSeconds }}: it must be at least 5 more than preStopSleepSeconds and gracefulShutdownSeconds together ({{ $both }}), or requests are cut off. Set it to {{ add $both 5 }} or more.
{{- end }}
{{- end }}
{{- if and .Values.worker.enabled (lt (int .Values.worker.terminationGracePeriodSeconds) (add $limit 30 | int)) }}
worker.terminationGracePeriodSeconds is {{ int .Values.worker.terminationGracePeriodSeconds }}: a task may take config.TASK_TIME_LIMIT_SECONDS ({{ $limit }}), so set it to {{ add $limit 30 }} or more, or tasks are killed and done twice.
{{- end }}
{{- if and .Values.rabbitmq.enabled (ge $limit (int .Values.rabbitmq.consumerTimeoutSeconds)) }}
config.TASK_TIME_LIMIT_SECONDS is {{ $limit }}: it must be less than rabbitmq.consumerTimeoutSeconds ({{ int .Values.rabbitmq.consumerTimeoutSeconds }}), or RabbitMQ gives a running task to another worker.
{{- end }}
{{- if and .Values.rabbitmq.enabled .Values.worker.enabled (ge (int .Values.worker.terminationGracePeriodSeconds) (int .Values.rabbitmq.consumerTimeoutSeconds)) }}
worker.terminationGracePeriodSeconds is {{ int .Values.worker.terminationGracePeriodSeconds }}, not shorter than rabbitmq.consumerTimeoutSeconds ({{ int .Values.rabbitmq.consumerTimeoutSeconds }}): lower it or raise that, or a task that a stopping worker still finishes is given to another one.
{{- end }}
{{- if not (and (lt $chunk (float64 $soft)) (lt $soft $limit)) }}
config.CHUNK_SECONDS, TASK_SOFT_TIME_LIMIT_SECONDS and TASK_TIME_LIMIT_SECONDS are {{ $chunk }}, {{ $soft }} and {{ $limit }}: they must grow in this order.
{{- end }}
{{- if gt $slowest $lease }}
config.CHUNK_LEASE_SECONDS is {{ $lease }}: set it to at least CHUNK_SECONDS and twice PROVIDER_CONNECT_TIMEOUT_SECONDS and PROVIDER_TIMEOUT_SECONDS, and to four times these two ({{ $slowest }}), or slow answers cost the lease.
{{- end }}
{{- end }}

{{- define "synergyway.validate.settings" }}
{{- if not .Values.dummyjson.enabled }}
{{- range $variable := list "USERS_API_URL" "ADDRESS_API_URL" "CREDIT_CARD_API_URL" }}
{{- if not (get $.Values.config $variable) }}
dummyjson.enabled is false, and config.{{ $variable }} is empty: set it to the address of a source, for example https://dummyjson.com/users.
{{- end }}
{{- end }}
{{- end }}
{{- if has (int .Values.config.METRICS_PORT) (list 8000 8080 5555) }}
config.METRICS_PORT is {{ int .Values.config.METRICS_PORT }}, which the service's own HTTP port is: choose another one, for example 9100.
{{- end }}
{{- if and (eq (int .Values.config.METRICS_PORT) 0) (or .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled .Values.monitoring.rules.enabled) }}
config.METRICS_PORT is 0, which means no metrics, and monitoring is enabled: set the port, for example to 9100.
{{- end }}
{{- range $component := list "worker" "beat" }}
{{- if and (get $.Values $component).enabled (not (hasPrefix "/tmp/" $.Values.config.HEARTBEAT_FILE)) (not (get $.Values $component).extraVolumeMounts) }}
config.HEARTBEAT_FILE is {{ $.Values.config.HEARTBEAT_FILE }}, and {{ $component }} can write to /tmp alone: leave it there, or mount a volume with {{ $component }}.extraVolumes and extraVolumeMounts.
{{- end }}
{{- end }}
{{- end }}

{{- define "synergyway.validate.scaling" }}
{{- $worker := .Values.worker }}
{{- if and $worker.autoscaling.enabled $worker.keda.enabled }}
worker.autoscaling and worker.keda are both enabled, and two autoscalers fight over the replicas: enable one of them.
{{- end }}
{{- if $worker.keda.enabled }}
{{- if gt (int $worker.keda.minReplicas) (int $worker.keda.maxReplicas) }}
worker.keda.minReplicas is more than maxReplicas: swap them.
{{- end }}
{{- if and (regexMatch "^redis" (include "synergyway.brokerUrl" .)) }}
worker.keda asks RabbitMQ for the length of its queue, and the broker is Redis: use worker.autoscaling.
{{- else if and (or (not .Values.rabbitmq.enabled) .Values.rabbitmq.auth.existingSecret) (not $worker.keda.existingSecret) }}
worker.keda needs the address of RabbitMQ's management API: name a Secret that holds it, as https://user:password@host, in worker.keda.existingSecret.
{{- end }}
{{- end }}
{{- range $component := list "api" "worker" }}
{{- $role := get $.Values $component }}
{{- $scaling := $role.autoscaling }}
{{- if and $role.enabled $scaling.enabled }}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
{{ $component }}.autoscaling.minReplicas is more than maxReplicas: swap them.
{{- end }}
{{- if not (or $scaling.targetCPUUtilizationPercentage $scaling.targetMemoryUtilizationPercentage $scaling.metrics) }}
{{ $component }}.autoscaling has nothing to go by: set targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage or metrics.
{{- end }}
{{- range $resource, $target := dict "cpu" $scaling.targetCPUUtilizationPercentage "memory" $scaling.targetMemoryUtilizationPercentage }}
{{- if and $target (not (get (get ($role.resources | default dict) "requests" | default dict) $resource)) }}
{{ $component }}.autoscaling goes by {{ $resource }}, in percent of a request that is not there: set {{ $component }}.resources.requests.{{ $resource }}.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $component := list "api" "worker" "dummyjson" "flower" }}
{{- include "synergyway.validate.pdb" (dict "component" $component "role" (get $.Values $component)) }}
{{- end }}
{{- end }}

{{/* A budget that lets nobody go holds up every drain for ever. From {component, role}. */}}
{{- define "synergyway.validate.pdb" }}
{{- $pdb := .role.pdb }}
{{- if and .role.enabled $pdb.enabled }}
{{- $fewest := .role.replicas }}
{{- if (.role.autoscaling | default dict).enabled }}{{ $fewest = .role.autoscaling.minReplicas }}{{ end }}
{{- if (.role.keda | default dict).enabled }}{{ $fewest = .role.keda.minReplicas }}{{ end }}
{{- $stay := $pdb.minAvailable }}
{{- if kindIs "invalid" $stay }}
{{- if has (include "synergyway.text" $pdb.maxUnavailable) (list "0" "0%") }}
{{ .component }}.pdb.maxUnavailable is {{ $pdb.maxUnavailable }}, so that no node could ever be drained: set it to 1 or more, or pdb.enabled to false.
{{- end }}
{{- else if or (eq (include "synergyway.text" $stay) "100%") (and (not (kindIs "string" $stay)) (gt (int $fewest) 0) (ge (int $stay) (int $fewest))) }}
{{ .component }}.pdb.minAvailable is {{ $stay }} of {{ $fewest }}, so that no node could ever be drained: lower it, raise the replicas, or use maxUnavailable.
{{- end }}
{{- end }}
{{- end }}

{{- define "synergyway.validate.edge" }}
{{- if and .Values.ingress.enabled .Values.httpRoute.enabled }}
ingress.enabled and httpRoute.enabled are both true: enable the one that your cluster has.
{{- end }}
{{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (not .Values.api.enabled) }}
ingress or httpRoute is enabled, and api.enabled is false: there is nothing to lead to. Enable the api, or neither of them.
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
ingress.hosts is empty: name a host and its paths.
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
httpRoute.parentRefs is empty: name the Gateway that the route belongs to.
{{- end }}
{{- end }}
