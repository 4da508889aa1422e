#!/usr/bin/env bash
# kind.sh up|down [CLUSTER]: the chart on a kind cluster of its own, in a namespace that enforces *restricted*.
# NODE_IMAGE chooses the version of Kubernetes, for example kindest/node:v1.33.1.
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=${2:-synergyway} image=synergyway:dev

need() {
  for tool in "$@"; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed: see docs/kind.md." >&2; exit 1; }
  done
}

case ${1:-} in
  up)
    need docker kind kubectl helm
    if kind get clusters 2>/dev/null | grep -qx "$cluster"; then
      echo "The cluster $cluster is there already."
    else
      kind create cluster --name "$cluster" --config kind-config.yaml --wait 120s ${NODE_IMAGE:+--image "$NODE_IMAGE"}
    fi
    docker build --target runtime --tag "$image" .
    kind load docker-image "$image" --name "$cluster"
    kubectl --context "kind-$cluster" apply --filename k8s/policies/namespace-restricted.yaml
    helm upgrade sw charts/synergyway --install --kube-context "kind-$cluster" --namespace synergyway \
      --values charts/synergyway/values-kind.yaml --wait --timeout 10m
    ;;
  down)
    need kind
    kind delete cluster --name "$cluster"
    ;;
  *)
    echo "Usage: $0 up|down [CLUSTER]" >&2
    exit 2
    ;;
esac
