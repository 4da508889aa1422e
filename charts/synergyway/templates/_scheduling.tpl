{{/* Where a role's pods run, from {root, component, role}. */}}
{{- define "synergyway.scheduling" -}}
{{- with .role.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $spread := .role.topologySpread | default dict }}
{{- if or $spread.zone $spread.host }}
topologySpreadConstraints:
  {{- range $key, $topology := dict "zone" "topology.kubernetes.io/zone" "host" "kubernetes.io/hostname" }}
  {{- with get $spread $key }}
  - maxSkew: 1
    topologyKey: {{ $topology }}
    whenUnsatisfiable: {{ . }}
    labelSelector:
      matchLabels:
        {{- include "synergyway.selectorLabels" $ | nindent 8 }}
    # Each version of the pods by itself: a rollout is not held up by where the old ones stand.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}
