"""Asks the api over its Service for what it must refuse, and for what it must not show."""

import os
import sys
import time
import urllib.error
import urllib.request

DEADLINE = time.monotonic() + float(os.environ["TEST_TIMEOUT_SECONDS"])
EXPECTED = [
    ("GET", "/healthz", {200}, "says that it lives"),
    ("GET", "/readyz", {200}, "says that it can work"),
    ("GET", "/users/ui", {200}, "shows the page"),
    ("GET", "/users?limit=0", {422}, "refuses an impossible limit"),
    ("GET", "/users?limit=20&after=0&offset=1", {422}, "refuses two ways of paging at once"),
    ("GET", "/users/many", {422}, "refuses an id that is no number"),
    ("GET", "/users/999999999999", {404}, "does not know a user that is not there"),
    # 404 and 405: by a version that does not start runs over HTTP at all.
    ("POST", "/runs", {401, 403, 404, 405}, "starts no run without a token"),
    ("GET", "/metrics", {401, 403, 404}, "does not show metrics on the Service"),
]


def status(method: str, path: str) -> int:
    request = urllib.request.Request(os.environ["API_URL"] + path, method=method)
    if method == "POST":
        request.data = b'{"task": "sync_users"}'
        request.add_header("Content-Type", "application/json")
    elif "API_TOKEN" in os.environ:
        request.add_header("Authorization", f"Bearer {os.environ['API_TOKEN']}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


while True:
    try:
        status("GET", "/healthz")
        break
    except OSError as error:
        if time.monotonic() > DEADLINE:
            sys.exit(f"FAILED: the api cannot be reached: {error}")
        time.sleep(1)

problems = 0
for method, path, wanted, sentence in EXPECTED:
    answered = status(method, path)
    holds = answered in wanted
    problems += not holds
    print(f"{'ok' if holds else 'FAILED'}: the api {sentence}: {method} {path} is answered with {answered}", flush=True)
sys.exit(f"{problems} answers are wrong." if problems else 0)
