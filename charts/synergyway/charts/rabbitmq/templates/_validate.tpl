{{/* What no schema can say. */}}
{{- define "synergyway.rabbitmq.validate" -}}
{{- $name := include "synergyway.rabbitmq.fullname" . -}}
{{- if eq (int .Values.replicas) 2 -}}
{{- fail "rabbitmq.replicas is 2: two nodes stop when either fails. Set it to 1, or to 3 for a cluster." -}}
{{- end -}}
{{- if and (eq (int .Values.replicas) 1) (lookup "v1" "PersistentVolumeClaim" .Release.Namespace (printf "data-%s-1" $name)) -}}
{{- fail (printf "rabbitmq.replicas is 1, and the volume data-%s-1 shows that this was a cluster: a node alone has no majority. Keep 3, or move the messages, take the other nodes out with `rabbitmqctl forget_cluster_node` and delete their volume claims first." $name) -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.persistence.enabled) -}}
{{- fail "rabbitmq.replicas is 3 without persistence: a node that comes back empty is a stranger to its cluster. Set rabbitmq.persistence.enabled to true, or replicas to 1." -}}
{{- end -}}
{{- end }}
