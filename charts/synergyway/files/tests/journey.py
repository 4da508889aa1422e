"""Walks the whole way: starts the three jobs as a shell would, waits for their runs, reads users over the Service."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import psycopg

TASKS = {
    "app.tasks.users.sync_users": [],
    "app.tasks.addresses.enrich_missing_addresses": ["--args", "[20]"],
    "app.tasks.credit_cards.enrich_missing_cards": ["--args", "[20]"],
}
DEADLINE = time.monotonic() + float(os.environ["TEST_TIMEOUT_SECONDS"])
MASKED = re.compile(r"\*{4} \*{4} \*{4} \d{4}")


def check(holds: bool, sentence: str) -> None:
    if not holds:
        sys.exit(f"FAILED: {sentence}")
    print(f"ok: {sentence}", flush=True)


def call(task: str) -> str:
    """Sends the task as `kubectl exec` does; the id of the message."""
    command = ["celery", "-A", "app.celery_app.celery", "call", task, *TASKS[task]]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def run_of(connection: psycopg.Connection, message: str) -> tuple[str, str | None]:
    """How the message's run has ended: status and error."""
    while time.monotonic() < DEADLINE:
        query = "SELECT status, error_message FROM runs WHERE message_id = %s"
        row = connection.execute(query, [message]).fetchone()
        if row and row[0] not in ("queued", "running"):
            return row
        time.sleep(1)
    sys.exit(f"FAILED: message {message} was not worked on in time. Do workers run, and do they reach the broker?")


def do(connection: psycopg.Connection, task: str) -> None:
    """Has the task done, again when another run of it was open at that moment."""
    status, error = "skipped", None
    while status == "skipped" and time.monotonic() < DEADLINE:
        status, error = run_of(connection, call(task))
        time.sleep(1)
    check(status == "succeeded", f"{task} ended as {status}{f': {error}' if error else ''}")


def get(path: str) -> str:
    token = os.environ.get("API_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(os.environ["API_URL"] + path, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


with psycopg.connect(os.environ["DATABASE_URL"].replace("+psycopg", ""), autocommit=True) as connection:
    for task in TASKS:
        do(connection, task)

body = get("/users?limit=100&has_address=true&has_card=true")
users = json.loads(body)
check(bool(users), f"the api has {len(users)} users with address and card on its first page")
numbers = [user["credit_card"]["number"] for user in users]
check(all(MASKED.fullmatch(number) for number in numbers), f"their card numbers are masked, for example {numbers[0]}")
check(not re.search(r"\d{13,19}", body.replace(" ", "")), "no full card number is in the answer")
