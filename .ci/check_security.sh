#!/usr/bin/env bash
# check_security.sh BIN [FILE...]: bandit on the code, and a search for secrets in the files of the repository, or in
# those that are given. A value that only looks like one is allowed on its line: `pragma: allowlist secret`.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1
shift
errors=$(mktemp -d)
trap 'rm -rf "$errors"' EXIT

# The defaults of the images of PostgreSQL and RabbitMQ, placeholders of examples, and what Helm's printf puts in.
known='^(postgres|guest|password|%s)$'
# Names of Secrets and of their keys; the ETag of an answer in the README.
names='existingSecret(Key)?: |secretKey: |automountServiceAccountToken: |^etag: W/|reads no secret'
hashes='\.lock$|(^|/)package-lock\.json$|^app/static/vendor/'

# Nothing is verified over the network. The tests are full of invented passwords and ids; what has the form of a key or
# a token of a known service is looked for there too.
search() { xargs -0 --no-run-if-empty "$bin/detect-secrets-hook" --no-verify "$@"; }
shipped() { search --exclude-files "$hashes" --exclude-secrets "$known" --exclude-lines "$names"; }
tests() { search --disable-plugin KeywordDetector --disable-plugin BasicAuthDetector --disable-plugin HexHighEntropyString; }

files() {
  if [ $# -gt 0 ]; then printf '%s\0' "$@"; else git ls-files -z --cached --others --exclude-standard; fi
}

if [ $# -eq 0 ]; then
  "$bin/bandit" --configfile pyproject.toml --quiet --recursive app 2>"$errors/bandit" || { cat "$errors/bandit" >&2; exit 1; }
  # A search that finds nothing anywhere would pass all the same.
  planted="$errors/planted.py"
  printf 'key = "AKIA%s"\n' QLTPW5JXNVB2RSDC >"$planted"
  if printf '%s\0' "$planted" | shipped >/dev/null || printf '%s\0' "$planted" | tests >/dev/null; then
    echo "The search for secrets does not find one that was planted." >&2
    exit 1
  fi
fi
{ files "$@" | grep -zv '^tests/' || true; } | shipped
{ files "$@" | grep -z '^tests/' || true; } | tests
