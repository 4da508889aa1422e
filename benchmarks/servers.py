"""What the benchmarks run against: PostgreSQL, RabbitMQ, the source, the API, each a process of its own."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from testcontainers.core.container import DockerContainer

from tests.dockerfile import UVICORN_VARIABLES, api_command

PROJECT = Path(__file__).parent.parent
_START_SECONDS = 60
_QUIET = ("--no-access-log", "--log-level", "warning")


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of a migrated database that may be emptied: BENCH_DATABASE_URL, or a container's."""
    url = os.environ.get("BENCH_DATABASE_URL")
    if url:
        _refuse_what_may_not_be_emptied(url)
        _migrate(url)
        yield url
        return
    server = DockerContainer("postgres:17").with_env("POSTGRES_PASSWORD", "postgres").with_exposed_ports(5432)
    # What a server for this work would have; the defaults are for 128 MB of memory.
    server = server.with_command("postgres -c shared_buffers=1GB -c max_wal_size=4GB")
    with _running(server, 5432) as address:
        url = f"postgresql+psycopg://postgres:postgres@{address}/postgres"
        _eventually("PostgreSQL", lambda: psycopg.connect(plain(url)).close())
        _migrate(url)
        yield url


@contextmanager
def rabbitmq() -> Iterator[str]:
    """The address of a broker: BENCH_BROKER_URL, or a container's."""
    url = os.environ.get("BENCH_BROKER_URL")
    if url:
        yield url
        return
    with _running(DockerContainer("rabbitmq:4-management").with_exposed_ports(5672), 5672) as address:
        host, _, port = address.partition(":")
        _eventually("RabbitMQ", lambda: _greet(host, int(port)))
        yield f"amqp://guest:guest@{address}//"


@contextmanager
def process(name: str, *command: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of the project's, ended at the end. Raises SystemExit when it has failed before."""
    running = subprocess.Popen([sys.executable, "-m", *command], cwd=PROJECT, env=os.environ | variables)
    try:
        yield running
        if running.poll():
            raise SystemExit(f"{name} ended by itself with exit code {running.returncode}")
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def server(app: str, probe: str, *options: str, **variables: str) -> Iterator[str]:
    """The address of an ASGI application behind uvicorn, once ``probe`` answers 200. options: uvicorn's own."""
    port = free_port()
    with process(app, "uvicorn", app, "--port", str(port), *_QUIET, *options, **variables):
        yield _answering(app, port, probe)


@contextmanager
def api(probe: str, *options: str, **variables: str) -> Iterator[str]:
    """The same for our api, started as the image starts it but for the access log, which no other server writes."""
    port = free_port()
    with process("the api", *api_command(port), *_QUIET, *options, **UVICORN_VARIABLES, **variables):
        yield _answering("the api", port, probe)


def addresses(source_url: str) -> dict[str, str]:
    """The variables that have all jobs read this source."""
    return dict.fromkeys(("USERS_API_URL", "ADDRESS_API_URL", "CREDIT_CARD_API_URL"), f"{source_url}/users")


def plain(url: str) -> str:
    """The address as the driver takes it, without SQLAlchemy's own part."""
    return url.replace("+psycopg", "")


def _refuse_what_may_not_be_emptied(url: str) -> None:
    """Raises SystemExit unless the database says by its name that it is there for benchmarks."""
    try:
        with psycopg.connect(plain(url)) as connection:
            name = connection.info.dbname
    except psycopg.Error as error:
        raise SystemExit(f"The database of BENCH_DATABASE_URL cannot be opened: {error}") from error
    if "bench" not in re.split("[_-]", name):
        raise SystemExit(
            f"BENCH_DATABASE_URL leads to the database {name}, which the benchmarks would empty. "
            'Give them one of their own, with the word "bench" in its name, as synergyway_bench.'
        )


def _migrate(url: str) -> None:
    migrate = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(migrate, cwd=PROJECT, env=os.environ | {"DATABASE_URL": url, "LOG_LEVEL": "WARNING"}, check=True)


@contextmanager
def _running(container: DockerContainer, port: int) -> Iterator[str]:
    """The container's own address: Docker's proxy in front of it would take a part of the two cores."""
    container.start()
    try:
        wrapped = container.get_wrapped_container()
        wrapped.reload()
        (network,) = wrapped.attrs["NetworkSettings"]["Networks"].values()
        yield f"{network['IPAddress']}:{port}"
    finally:
        container.stop()


def _answering(name: str, port: int, probe: str) -> str:
    url = f"http://127.0.0.1:{port}"
    _eventually(name, lambda: urllib.request.urlopen(url + probe, timeout=5).close())
    return url


def _greet(host: str, port: int) -> None:
    with socket.create_connection((host, port), timeout=1) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        if not connection.recv(1):
            raise ConnectionError("it hung up")


def _eventually(name: str, attempt: Callable[[], None]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError, psycopg.OperationalError, urllib.error.URLError):
            attempt()
            return
        time.sleep(0.2)
    raise SystemExit(f"{name} did not answer within {_START_SECONDS} s")


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
