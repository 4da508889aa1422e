#!/usr/bin/env bash
# The journey of an operator on a kind cluster: install, helm test, an upgrade that changes nothing, one under load, a
# drain, an uninstall and a reinstall. NODE_IMAGE chooses the version of Kubernetes. Leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."

cluster=synergyway-journey-$$
values=charts/synergyway/values-kind.yaml
export KUBECONFIG
KUBECONFIG=$(mktemp)
answers=$(mktemp)

k() { kubectl --namespace synergyway "$@"; }
h() { helm --namespace synergyway "$@"; }
step() { printf '\n--- %s\n' "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

finish() {
  code=$?
  trap - EXIT
  if [ $code -ne 0 ]; then
    k get pods,jobs,events --output wide || true
    k logs --selector app.kubernetes.io/instance=sw --all-containers --prefix --tail 30 || true
  fi
  kind delete cluster --name "$cluster" >/dev/null 2>&1 || true
  rm -f "$KUBECONFIG" "$answers"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

# Names and restarts of all pods but those of tests: what an upgrade without a change must not touch.
pods() { k get pods --selector 'app.kubernetes.io/instance=sw,app.kubernetes.io/component!=test' --output \
  'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[*].restartCount}{"\n"}{end}' | sort; }

step "install into a namespace that enforces restricted"
.ci/kind.sh up "$cluster"
pods | tee "$answers"
! awk '$2 > 0' "$answers" | grep . || fail "restarts"

step "helm test"
h test sw --timeout 10m

step "an upgrade that changes nothing restarts nothing"
before=$(pods)
h upgrade sw charts/synergyway --values "$values" --wait --timeout 10m
[ "$(pods)" = "$before" ] || fail "pods are others than before: $(pods)"

step "an upgrade under load drops no request"
# In the cluster, through the Service: a port-forward would stay with one pod.
k run load --image synergyway:dev --image-pull-policy Never --restart Never --overrides "$(cat <<'END'
{"spec": {"automountServiceAccountToken": false, "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
 "containers": [{"name": "load", "image": "synergyway:dev", "imagePullPolicy": "Never",
  "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
  "command": ["python", "-c", "import signal, sys, urllib.request as u\nasked = failed = 0\ngoing = True\ndef stop(*_):\n    global going\n    going = False\nsignal.signal(signal.SIGTERM, stop)\nprint('begins', flush=True)\nwhile going:\n    asked += 1\n    try:\n        u.urlopen('http://sw-synergyway-api/users?limit=1', timeout=10).read()\n    except OSError as error:\n        failed += 1\n        print(error, flush=True)\nprint(asked, 'asked,', failed, 'failed', flush=True)\nsys.exit(failed > 0 or asked < 100)"]}]}}
END
)" >/dev/null
k wait --for condition=Ready pod/load --timeout 60s
h upgrade sw charts/synergyway --values "$values" --set api.podAnnotations.rollout=second --set worker.podAnnotations.rollout=second \
  --wait --timeout 10m
k rollout status deployment/sw-synergyway-api --timeout 5m

step "a drain of the node that the most pods are on"
node=$(k get pods --selector app.kubernetes.io/component=api --output 'jsonpath={.items[0].spec.nodeName}')
kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --force --timeout 15m \
  --pod-selector 'app.kubernetes.io/component in (api, worker, beat, dummyjson, flower)'
k wait --for condition=Available deployment --all --timeout 10m
kubectl uncordon "$node"
# Its log is kept while the pod ends by itself.
k exec load -- sh -c 'kill -TERM 1' || true
k wait --for jsonpath='{.status.phase}'=Succeeded pod/load --timeout 30s || { k logs load; fail "requests were dropped"; }
k logs load | tail -n 1
k delete pod load

step "an uninstall leaves the volumes and what opens them; a reinstall finds its data"
users() { k exec sw-postgresql-0 --container postgresql -- sh -c 'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -Atc "SELECT count(*) FROM users"'; }
before=$(users)
h uninstall sw --wait
left=$(k get deployments,statefulsets,services,jobs,configmaps,serviceaccounts --selector app.kubernetes.io/instance=sw --output name)
[ -z "$left" ] || fail "left: $left"
h install sw charts/synergyway --values "$values" --wait --timeout 10m
[ "$(users)" -ge "$before" ] || fail "$before users before, $(users) after"
h test sw --timeout 10m

step "a second release beside it"
h install other charts/synergyway --values "$values" --set api.replicas=1 --set worker.replicas=1 --set flower.enabled=false --wait --timeout 10m
h test other --timeout 10m

step "the cluster journey has come to its end"
