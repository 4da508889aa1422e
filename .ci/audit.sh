#!/usr/bin/env bash
# audit.sh BIN [--unreachable-is-no-failure] [LOCK...]: asks a source of advisories about every package pinned in the
# lock files, or in those given. OSV is asked, or else PyPI; OSV_URL names another address for OSV's API.
# Exit codes: 0 nothing is known, 1 something is, 3 no source could be asked (0 with the option, after one line).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1
shift
unreachable=3
if [ "${1:-}" = --unreachable-is-no-failure ]; then unreachable=0; shift; fi
[ $# -gt 0 ] || set -- requirements*.lock
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# With hashes and --disable-pip the lock is read as it is: nothing is resolved, installed or fetched.
audit() { "$bin/pip-audit" --disable-pip --progress-spinner off --timeout 10 --cache-dir "$folder/cache" "$@"; }

# A mirror of PyPI answers and knows no advisories, and pip-audit takes that for good news. So a source counts as one
# when it knows of the hole in this version.
echo "jinja2==2.4.1" >"$folder/known"
sources=("--vulnerability-service osv --osv-url ${OSV_URL:-https://api.osv.dev/v1/query}" "--vulnerability-service pypi")
for source in "${sources[@]}"; do
  # shellcheck disable=SC2086  # options and their values
  if ! audit $source --no-deps --requirement "$folder/known" >"$folder/answer" 2>&1 && grep -q '^jinja2 ' "$folder/answer"; then
    found=0
    for lock in "$@"; do
      echo "$lock:"
      # shellcheck disable=SC2086
      audit $source --strict --require-hashes --desc off --requirement "$lock" || found=1
    done
    exit $found
  fi
done
echo "NOT AUDITED: no source of advisories can be asked (OSV, PyPI), so nothing is known about the pinned packages."
exit $unreachable
