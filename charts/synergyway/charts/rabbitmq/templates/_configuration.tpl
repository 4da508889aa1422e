{{/* The files of /etc/rabbitmq. */}}
{{- define "synergyway.rabbitmq.configuration" -}}
{{- $clustered := gt (int .Values.replicas) 1 -}}
{{- $discovery := include "synergyway.rabbitmq.peerDiscovery" . -}}
{{- $plugins := concat (list "rabbitmq_management" "rabbitmq_prometheus") .Values.extraPlugins -}}
{{- if and $clustered (eq $discovery "kubernetes") -}}
{{- $plugins = append $plugins "rabbitmq_peer_discovery_k8s" -}}
{{- end -}}
enabled_plugins: |
  [{{ $plugins | uniq | join "," }}].
rabbitmq.conf: |
  cluster_name = {{ include "synergyway.rabbitmq.fullname" . }}
  log.console = true
  # User, virtual host and permissions, at each start. A node that imports them has no user guest.
  load_definitions = /var/lib/rabbitmq/definitions.json
  default_queue_type = quorum
  consumer_timeout = {{ mul .Values.consumerTimeoutSeconds 1000 }}
  disk_free_limit.absolute = {{ .Values.diskFreeLimit }}
  # Queue lengths in the management API, which autoscalers read.
  management_agent.disable_metrics_collector = false
  {{- with (.Values.resources.limits).memory }}
  # The node itself would see the memory of the whole machine.
  total_memory_available_override_value = {{ include "synergyway.rabbitmq.bytes" . }}
  {{- end }}
  {{- if $clustered }}
  cluster_partition_handling = pause_minority
  cluster_formation.target_cluster_size_hint = {{ .Values.replicas }}
  queue_leader_locator = balanced
  # Queues that a single node made spread over the nodes that joined it.
  quorum_queue.continuous_membership_reconciliation.enabled = true
  quorum_queue.continuous_membership_reconciliation.target_group_size = {{ .Values.replicas }}
  {{- if eq $discovery "kubernetes" }}
  cluster_formation.peer_discovery_backend = kubernetes
  {{- else }}
  cluster_formation.peer_discovery_backend = classic_config
  # A node that gave up would found a cluster of its own, so none does within an hour.
  cluster_formation.discovery_retry_limit = 3600
  cluster_formation.discovery_retry_interval = 1000
  {{- range $node := until (int .Values.replicas) }}
  cluster_formation.classic_config.nodes.{{ add1 $node }} = rabbit@{{ include "synergyway.rabbitmq.fullname" $ }}-{{ $node }}.{{ include "synergyway.rabbitmq.domain" $ }}
  {{- end }}
  {{- end }}
  {{- end }}
  {{- with .Values.extraConfig }}
  {{- . | trim | nindent 2 }}
  {{- end }}
{{- end }}
