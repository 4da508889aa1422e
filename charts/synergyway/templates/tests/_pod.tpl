{{/*
A pod of `helm test`, from {root, name, needs}. It is a worker's pod in all that matters to how the service is reached, and
runs files/tests/<name>.py.
*/}}
{{- define "synergyway.testPod" -}}
{{- $values := .root.Values -}}
{{- $role := dict
  "terminationGracePeriodSeconds" 5
  "resources" $values.tests.resources
  "podLabels" $values.worker.podLabels "podAnnotations" $values.worker.podAnnotations
  "podSecurityContext" $values.worker.podSecurityContext "securityContext" $values.worker.securityContext
  "nodeSelector" $values.worker.nodeSelector "tolerations" $values.worker.tolerations "affinity" dict
  "serviceAccount" (dict "create" false "name" "")
  "extraEnv" $values.worker.extraEnv "extraEnvFrom" $values.worker.extraEnvFrom
  "extraVolumes" $values.worker.extraVolumes "extraVolumeMounts" $values.worker.extraVolumeMounts
  "extraInitContainers" list "sidecars" list "probes" dict "extraPodSpec" $values.worker.extraPodSpec
-}}
{{- $api := printf "http://%s:%d" (include "synergyway.componentName" (dict "root" .root "component" "api")) (int $values.api.service.port) -}}
{{- $own := list (dict "name" "API_URL" "value" $api) (dict "name" "TEST_TIMEOUT_SECONDS" "value" (toString (int $values.tests.timeoutSeconds))) -}}
{{- $own = concat $own (include "synergyway.tokenEnv" .root | fromYamlArray) -}}
{{- $command := list "python" "-c" (.root.Files.Get (printf "files/tests/%s.py" .name)) -}}
{{- $parameters := dict "root" .root "component" "test" "role" $role "needs" .needs "own" $own "restartPolicy" "Never" "container" (dict "command" $command) -}}
{{- $annotations := dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
{{- $pod := include "synergyway.podTemplate" $parameters | fromYaml -}}
apiVersion: v1
kind: Pod
metadata:
  {{- include "synergyway.metadata" (dict "root" .root "component" "test" "annotations" $annotations
    "name" (include "synergyway.componentName" (dict "root" .root "component" (printf "test-%s" .name)))) | nindent 2 }}
spec:
  {{- toYaml $pod.spec | nindent 2 }}
{{- end }}
