{{/* A role's Service, from {root, component, role}. It leads to the port http alone. */}}
{{- define "synergyway.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "synergyway.metadata" (dict "root" .root "component" .component "annotations" .role.service.annotations) | nindent 2 }}
spec:
  type: {{ .role.service.type | default "ClusterIP" }}
  ports:
    - name: http
      port: {{ int .role.service.port }}
      targetPort: http
  selector:
    {{- include "synergyway.selectorLabels" . | nindent 4 }}
{{- end }}
