"""The api as a process of its own, started as the image starts it."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import PROJECT
from tests.dockerfile import UVICORN_VARIABLES, api_command

_START_SECONDS = 30


@dataclass(frozen=True)
class Api:
    """output: where everything goes that it prints."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024


@contextmanager
def running_api(folder: Path, database: str, **variables: str) -> Iterator[Api]:
    """folder: for what it prints. The variables override those of the image."""
    output = folder / "output"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    own = {"DATABASE_URL": database, "METRICS_PORT": "0", "APP_ENV": "production"}
    command = [sys.executable, "-m", *api_command(port)]
    with output.open("wb") as file:
        environment = os.environ | UVICORN_VARIABLES | own | variables
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=file, stderr=file)
    api = Api(process, port, output)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                api.connect().close()
                break
            except OSError:
                time.sleep(0.1)
        yield api
    finally:
        process.kill()
        process.wait()
