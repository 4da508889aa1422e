#!/usr/bin/env bash
# What `make run` promises: users with addresses and masked cards within a minute of the install's end, and nothing left
# behind when it is stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
port=${PORT:-8231}
url="http://127.0.0.1:$port"
log=$(mktemp)

fail() { echo "FAILED: $*" >&2; tail -n 40 "$log" >&2; exit 1; }
roles() { pgrep --full --session "$(ps -o sid= -p $$ | tr -d ' ')" "app run --port $port" || true; }

rm -rf var
make run PORT="$port" >"$log" 2>&1 </dev/null &
trap 'kill %1 2>/dev/null || true; rm -f "$log"' EXIT
deadline=$((SECONDS + 60))
until curl --fail --silent "$url/users?limit=100&has_address=true&has_card=true" 2>/dev/null | grep -q '"number":"\*\*\*\* \*\*\*\* \*\*\*\* [0-9]\{4\}"'; do
  [ $SECONDS -lt $deadline ] || fail "no user with an address and a masked card within 60 s"
  sleep 0.5
done
[ "$(curl --fail --silent "$url/healthz")" = '{"status":"ok"}' ] || fail "/healthz"
page=$(curl --fail --silent "$url/users/ui")
grep -qF '**** **** ****' <<<"$page" || fail "no masked card on the page"

run=$(roles | head -n 1)
children=$(pgrep --parent "$run")
kill -INT "$run"
wait %1 || fail "it ended with exit code $?"
for pid in $children; do
  ! kill -0 "$pid" 2>/dev/null || fail "process $pid is left"
done
[ "$(ls var)" = "$(printf 'lock\nsynergyway.db')" ] || fail "files are left: $(ls var)"
echo "make run served users with addresses and masked cards, and left nothing behind"
