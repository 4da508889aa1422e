{{/* The Job as far as its name depends on it. Nothing in here may differ between two renders of the same values. */}}
{{- define "synergyway.migrationSpec" -}}
{{- $role := .Values.migrations -}}
{{- $secret := eq $role.mode "hook" | ternary (include "synergyway.componentName" (dict "root" . "component" "migrate")) "" -}}
{{- $command := $role.command | default (list "python" "-m" "app" "migrate" "--timeout" (int $role.activeDeadlineSeconds | toString)) -}}
backoffLimit: {{ int $role.backoffLimit }}
activeDeadlineSeconds: {{ int $role.activeDeadlineSeconds }}
template:
  {{- include "synergyway.podTemplate" (dict "root" . "component" "migrate" "role" $role "needs" (list "database") "secret" $secret
    "restartPolicy" "Never" "container" (dict "command" $command)) | nindent 2 }}
{{- end }}

{{/* The annotations of what Helm makes before an install or upgrade, in the order of {weight}. */}}
{{- define "synergyway.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
