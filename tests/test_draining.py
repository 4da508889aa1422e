"""The api on its way out, as a real process with a client that keeps its connection."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.conftest import PROJECT

START_SECONDS = 30


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def api(database_url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "warning", "app.main:app"]
    process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | {"DATABASE_URL": database_url})
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    yield process
    process.kill()
    process.wait()


def test_after_sigusr1_answers_ask_their_clients_to_leave(api: subprocess.Popen[bytes], port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        for _ in range(2):
            client.request("GET", "/users")
            response = client.getresponse()
            assert (response.status, response.read(), response.headers["Connection"]) == (200, b"[]", None)

        api.send_signal(signal.SIGUSR1)

        # The signal may come after a request or two.
        for _ in range(100):
            client.request("GET", "/users")
            response = client.getresponse()
            assert (response.status, response.read()) == (200, b"[]")
            if response.headers["Connection"] == "close":
                break
        assert response.headers["Connection"] == "close"

        # Whoever comes all the same is served, by a connection of its own.
        client.request("GET", "/healthz")
        assert client.getresponse().read() == b'{"status":"ok"}'
