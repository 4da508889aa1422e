#!/usr/bin/env bash
# The journey of a user of the compose file: build, start, trigger the three tasks by hand, read the result.
# The stack runs on the released image (stage runtime), the tests inside on the dev image, as `docker compose run` does.
# Its names and ports are its own, so it disturbs nothing else on the machine, and leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."

project=synergyway-journey-$$
log=$(mktemp)
dev=$project:dev runtime=$project:runtime
export COMPOSE_PROJECT_NAME=$project COMPOSE_PROFILES=flower API_PORT=0 RABBITMQ_UI_PORT=0 FLOWER_PORT=0
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
# The documented defaults, whatever this clone's .env says.
compose+=(--env-file .env.example)

c() { "${compose[@]}" "$@" </dev/null; }
on_runtime() { SYNERGYWAY_IMAGE=$runtime c "$@"; }
quietly() { "$@" >"$log" 2>&1 || { code=$?; cat "$log" >&2; return $code; }; }
step() { printf '\n--- %s\n' "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

finish() {
  code=$?
  trap - EXIT
  if [ $code -ne 0 ]; then
    on_runtime ps -a || true
    on_runtime logs --no-color --tail 60 || true
  fi
  on_runtime down --volumes --remove-orphans --timeout 20 >/dev/null 2>&1 || true
  docker image rm --force "$dev" "$runtime" >/dev/null 2>&1 || true
  rm -f "$log"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

eventually() {  # seconds, what is waited for, command
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || fail "did not come: $what"
    sleep 1
  done
}

sql() { on_runtime exec -T db psql --username postgres --no-align --tuples-only --set ON_ERROR_STOP=1 --command "$1"; }
holds() { [ "$(sql "SELECT $1")" = t ]; }
expect() { holds "$1" || fail "is not true: $1"; }
get() { curl --fail --silent --show-error --max-time 10 "http://$api$1"; }
call() { on_runtime exec -T worker celery --quiet -A app.celery_app.celery call "$@" >/dev/null; }

step "build the images"
SYNERGYWAY_IMAGE=$dev quietly c build api
quietly docker build --target runtime --build-arg VERSION=journey --tag "$runtime" .
[ "$(docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.version"}} {{.Config.User}}' "$runtime")" = "journey 10001:10001" ] ||
  fail "the runtime image's version label or user"
docker run --rm --entrypoint sh "$runtime" -c \
  'for tool in pip pip3 gcc cc make pytest; do if command -v $tool; then exit 1; fi; done; ! python -m pip >/dev/null 2>&1' ||
  fail "the runtime image holds a build tool"

step "the tests inside the dev image"
SYNERGYWAY_IMAGE=$dev c run --rm --no-deps -T api pytest -q

step "start the stack"
quietly on_runtime up -d --no-build
all_healthy() {
  local states
  states=$(on_runtime ps -q | xargs docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}} {{.State.ExitCode}}{{end}}')
  [ "$(grep -c '^healthy$' <<<"$states")" -eq 7 ] && ! grep -qv -e '^healthy$' -e '^exited 0$' <<<"$states"
}
eventually 150 "health of all seven services" all_healthy
api=$(on_runtime port api 8000)
on_runtime ps

step "trigger the three tasks inside the worker"
# Beat's first runs come by themselves; calls that met them would be skipped.
eventually 90 "the end of the first runs" holds "count(*) >= 5 AND bool_and(status NOT IN ('queued', 'running'))
  AND (SELECT count(*) = 208 AND bool_and(has_address AND has_card) FROM users) FROM runs"
sql "DELETE FROM addresses WHERE user_id IN (SELECT id FROM users ORDER BY id LIMIT 20)" >/dev/null
sql "DELETE FROM credit_cards WHERE user_id IN (SELECT id FROM users ORDER BY id DESC LIMIT 20)" >/dev/null
call app.tasks.users.sync_users
call app.tasks.addresses.enrich_missing_addresses --args "[20]"
call app.tasks.credit_cards.enrich_missing_cards --args "[20]"
eventually 60 "the end of the three runs" holds "count(*) = 3 AND bool_and(status = 'succeeded') FROM runs WHERE trigger = 'cli'"
sql "SELECT id, task, trigger, status, inserted, updated, unchanged FROM runs ORDER BY id"

step "one address and one card a user"
expect "count(*) = 208 FROM users"
expect "count(*) = 208 AND count(DISTINCT user_id) = 208 FROM addresses"
expect "count(*) = 208 AND count(DISTINCT user_id) = 208 FROM credit_cards"
expect "array_agg(inserted ORDER BY task) = '{20,20,0}' FROM runs WHERE trigger = 'cli'"

step "masked cards through the API"
for offset in 0 100 200; do get "/users?limit=100&offset=$offset"; echo; done | python3 -c '
import json, re, sys
text = sys.stdin.read()
users = [user for page in text.splitlines() for user in json.loads(page)]
assert len({user["id"] for user in users}) == 208, len(users)
for user in users:
    assert user["address"]["city"], user
    assert re.fullmatch(r"\*{4} \*{4} \*{4} \d{4}", user["credit_card"]["number"]), user
assert not re.search(r"\d{12}", text), "a long number"
print(len(users), "users, such as", users[0]["name"], users[0]["credit_card"]["number"])
'
[ "$(get "/users?has_card=false")" = "[]" ] || fail "somebody has no card"
[ "$(get /healthz)" = '{"status":"ok"}' ] || fail "/healthz"
# Read to the end first: a grep that leaves early would break the pipe, and with it the test.
page=$(get /users/ui)
grep -qF '**** **** ****' <<<"$page" || fail "no masked card on the page"
logged=$(on_runtime logs --no-color 2>&1)
! grep -E '"level": "(ERROR|CRITICAL)"' <<<"$logged" || fail "errors are logged"

step "the compose journey has come to its end"
