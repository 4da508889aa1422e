#!/usr/bin/env bash
# check_chart.sh HELM BIN: lints the chart with each of its values files, and scans what it renders, the Dockerfile and
# the workflows. What is waived, and why, is in .checkov.yaml and .hadolint.yaml. Nothing is fetched.
set -euo pipefail
cd "$(dirname "$0")/.."
helm=$1 bin=$2 chart=charts/synergyway
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT

"$bin/hadolint" --config .hadolint.yaml Dockerfile
if [ -x "$helm" ]; then
  for values in "$chart"/values*.yaml; do
    "$helm" lint --strict --quiet "$chart" --values "$values"
    "$helm" template sw "$chart" --namespace synergyway --kube-version 1.36 --values "$values" \
      >"$rendered/$(basename "$values")"
  done
fi
mkdir -p "$rendered/k8s"
cp -r k8s/policies "$rendered/k8s/"
scan() { "$bin/checkov" --config-file .checkov.yaml "$@"; }
scan --framework kubernetes --directory "$rendered"
scan --framework dockerfile --file Dockerfile
scan --framework github_actions --directory .github
