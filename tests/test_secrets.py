"""Secrets stay where they are used: none is in what is logged, kept in runs, or shown."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.errors import ProviderError
from app.records import Job
from tests.api_process import running_api
from tests.conftest import LocalWorker
from tests.fake_source import Answer, FakeSource, Query

TOKEN = "correct-horse-battery-staple"
WRONG = "a-token-of-somebody-else"
PASSWORD = "geheim-4556737586899855"


def status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        assert TOKEN not in error.read().decode()
        return error.code


def test_no_token_and_no_password_is_in_what_the_api_prints(migrated_file: Path, tmp_path: Path) -> None:
    variables = {
        "API_TOKEN": TOKEN,
        "READ_TOKEN_REQUIRED": "true",
        "CELERY_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0",
        "LOG_LEVEL": "DEBUG",
    }
    with running_api(tmp_path, f"sqlite+pysqlite:///{migrated_file}", **variables) as api:
        url = f"http://127.0.0.1:{api.port}"

        def ask(path: str, token: str, body: bytes | None = None) -> int:
            return status(urllib.request.Request(url + path, body, {"Authorization": f"Bearer {token}"}))

        assert ask("/users", TOKEN) == 200
        assert ask("/users", WRONG) == 401
        assert ask("/users/ui", WRONG) == 401
        assert ask("/runs", TOKEN, json.dumps({"task": TOKEN}).encode()) == 422
        assert ask("/runs", TOKEN, b'{"task": "sync_users"}') == 503
        assert ask("/runs", TOKEN) == 200
        with api.connect() as connection:
            connection.sendall(f"GET /users HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\0\r\n\r\n".encode())
            assert b" 400 " in connection.recv(1_000)

        printed = api.output.read_text()

    assert '"GET /users HTTP/1.1\\" 200' in printed
    assert "the broker" in printed
    assert [secret for secret in (TOKEN, WRONG, PASSWORD) if secret in printed] == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"", status=500),
        Answer(b"", status=403),
        Answer(b"<html>", content_type="text/html"),
        Answer(json.dumps({"users": [{"id": 1, "password": PASSWORD}], "total": 1}).encode()),
        Answer(f'{{"users": [{{"password": "{PASSWORD}" oops'.encode()),
        Answer(b"", status=302, headers={"Location": f"ftp://somebody:{PASSWORD}@127.0.0.1/users?key={PASSWORD}"}),
    ],
    ids=["unavailable", "refused", "another-type", "without-names", "broken", "elsewhere"],
)
def test_no_password_is_kept_in_a_run_or_shown(
    make_worker: Callable[..., LocalWorker],
    open_client: Callable[..., TestClient],
    source: FakeSource,
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
) -> None:
    worker = make_worker(USERS_API_URL=source.url.replace("http://", f"http://somebody:{PASSWORD}@"))

    def respond(_: str, __: Query) -> Answer:
        return answer

    source.respond = respond
    with suppress(ProviderError):
        worker.call(Job.SYNC_USERS)
    [run] = worker.rows("SELECT * FROM runs")
    chunks = worker.rows("SELECT * FROM run_chunks")
    client = open_client()
    shown = [client.get(path).text for path in ("/runs", "/runs/1", "/users/ui", "/users/ui/runs", "/users/ui/runs/1")]

    assert source.requests
    assert run["error_message"] or chunks[0]["error_message"] or run["rejected"]
    assert PASSWORD not in str(run) + str(chunks) + "".join(shown) + caplog.text
