"""The service in parts: servers in containers, databases of one test, and the roles as real processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row
from redis import Redis
from testcontainers.core.container import DockerContainer

from tests.conftest import PROJECT
from tests.dockerfile import UVICORN_VARIABLES, api_command

_START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A container's address as seen from here."""

    container: DockerContainer
    host: str
    ports: dict[int, int]


@contextmanager
def serve(container: DockerContainer, *ports: int, ready: Callable[[Server], bool]) -> Iterator[Server]:
    """A container that is ready: its ports are those that it was bound to, or any."""
    container.with_exposed_ports(*(port for port in ports if str(port) not in container.ports))
    container.with_kwargs(labels={"synergyway.checkout": str(PROJECT)})
    with container:
        mapped = {port: int(container.get_exposed_port(port)) for port in ports}
        server = Server(container, container.get_container_host_ip(), mapped)
        eventually(lambda: ready(server), _START_SECONDS)
        yield server


def eventually(holds: Callable[[], Any], seconds: float = 30) -> Any:
    """Waits until something holds, and returns it. An error counts as not yet; the last one is shown at the end."""
    deadline = time.monotonic() + seconds
    error: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if result := holds():
                return result
            error = None
        except Exception as caught:  # noqa: BLE001  # whatever is raised means: not yet
            error = caught
        time.sleep(0.1)
    raise AssertionError(f"did not hold within {seconds} s") from error


def management(server: Server, method: str, path: str, body: bytes | None = None) -> bytes:
    """RabbitMQ's management API."""
    request = urllib.request.Request(f"http://{server.host}:{server.ports[15672]}/api/{path}", body, method=method)
    request.add_header("Authorization", "Basic " + b64encode(b"guest:guest").decode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=5) as response:
        return bytes(response.read())


def connect(server: Server, database: str) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.connect(
        host=server.host,
        port=server.ports[5432],
        user="postgres",
        password="postgres",
        dbname=database,
        autocommit=True,
        row_factory=dict_row,
    )


@dataclass
class PostgresDatabase:
    """A database of its own for one test."""

    server: Server
    name: str

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres:postgres@{self.server.host}:{self.server.ports[5432]}/{self.name}"

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        with connect(self.server, self.name) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *parameters: Any) -> Any:
        (row,) = self.rows(statement, *parameters)
        (value,) = row.values()
        return value


def create_database(server: Server, template: str = "template1") -> PostgresDatabase:
    name = f"test_{uuid4().hex}"
    with connect(server, "postgres") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return PostgresDatabase(server, name)


def open_vhost(server: Server) -> str:
    """A virtual host of RabbitMQ for one service."""
    vhost = uuid4().hex
    management(server, "PUT", f"vhosts/{vhost}", b'{"default_queue_type": "quorum"}')
    management(server, "PUT", f"permissions/{vhost}/guest", b'{"configure":".*","write":".*","read":".*"}')
    return vhost


def impatient(database_url: str, source_url: str, broker: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service that waits for nothing for long."""
    return {
        **os.environ,
        **broker,
        "DATABASE_URL": database_url,
        "USERS_API_URL": source_url,
        "ADDRESS_API_URL": source_url,
        "CREDIT_CARD_API_URL": source_url,
        "CHUNK_LEASE_SECONDS": "8",
        "CHUNK_SECONDS": "2",
        "PROVIDER_TIMEOUT_SECONDS": "1",
        "PROVIDER_CONNECT_TIMEOUT_SECONDS": "1",
        "REAPER_INTERVAL_SECONDS": "1",
        "APP_ENV": "test",
        "METRICS_PORT": "0",
    }


@dataclass
class Role:
    """A process of the service; what it prints goes to a file."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self, seconds: float = 30) -> int:
        self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        """What a lost node does: all processes at once, without a word."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def children(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in tasks.read_text().split()]


@dataclass
class Deployment:
    """A database, a broker and a source, and the roles that were started on them."""

    pg: PostgresDatabase
    environment: dict[str, str]
    folder: Path
    broker: str
    server: Server
    vhost: str = ""
    roles: list[Role] = field(default_factory=list)
    metrics_ports: set[str] = field(default_factory=set)

    def start(self, role: str, *arguments: str, **variables: str) -> Role:
        """role: worker, beat, or any other command of Celery's."""
        name = f"{role}-{len(self.roles)}"
        log_file = self.folder / f"{name}.log"
        environment = self.environment | variables | {"HEARTBEAT_FILE": str(self.folder / f"{name}.heartbeat")}
        with log_file.open("wb") as log:
            command = [sys.executable, "-m", "celery", "--quiet", "-A", "app.celery_app.celery", role, *arguments]
            process = subprocess.Popen(
                command, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.roles.append(Role(process, log_file))
        self.metrics_ports.add(environment["METRICS_PORT"])
        return self.roles[-1]

    def worker(self, concurrency: int = 2, **variables: str) -> Role:
        """A worker that is ready."""
        # A name of its own: RabbitMQ lets one worker a name have the queue for remote control.
        name = f"worker{len(self.roles)}@%h"
        role = self.start("worker", "--hostname", name, "--concurrency", str(concurrency), **variables)
        eventually(lambda: " ready." in role.log())
        return role

    def api(self, *, ready: bool = True, **variables: str) -> int:
        """The port of an api that is ready, or of one that has just been started, as the image starts it."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        log_file = self.folder / f"api-{len(self.roles)}.log"
        with log_file.open("wb") as log:
            command = [sys.executable, "-m", *api_command(port)]
            environment = self.environment | UVICORN_VARIABLES | variables
            process = subprocess.Popen(
                command, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.roles.append(Role(process, log_file))
        if ready:
            url = f"http://127.0.0.1:{port}/readyz"
            eventually(lambda: urllib.request.urlopen(url, timeout=5).close() is None, 60)
        return port

    def call(self, task: str, *arguments: str) -> None:
        """``celery call``, as a person types it."""
        command = [sys.executable, "-m", "celery", "-A", "app.celery_app.celery", "call", task, *arguments]
        subprocess.run(command, cwd=PROJECT, env=self.environment, check=True, capture_output=True, timeout=60)

    def send(self, task: str, count: int, **arguments: Any) -> None:
        """So many messages for a task, as fast as the broker takes them."""
        program = (
            "from app.celery_app import celery\n"
            "with celery.producer_or_acquire() as producer:\n"
            f"    for _ in range({count}):\n"
            f"        celery.send_task({task!r}, kwargs={arguments!r}, ignore_result=True, producer=producer)\n"
        )
        command = [sys.executable, "-c", program]
        subprocess.run(command, cwd=PROJECT, env=self.environment, check=True, capture_output=True, timeout=60)

    def purge(self) -> None:
        """Loses what waits in the queues of RabbitMQ, delayed messages included."""
        queues = json.loads(management(self.server, "GET", f"queues/{self.vhost}"))
        for queue in (queue for queue in queues if queue["type"] == "quorum"):
            management(self.server, "DELETE", f"queues/{self.vhost}/{queue['name']}/contents")

    def messages(self, queue: str = "synergyway") -> int:
        """How many messages a queue holds, delivered ones included."""
        counts = self.queues()
        return counts.get(queue, 0) + counts.get("unacked", 0)

    def queues(self) -> dict[str, int]:
        """Messages by queue, delivered ones included; on Redis those are apart, as `unacked`."""
        if self.broker == "redis":
            with Redis(self.server.host, self.server.ports[6379]) as client:
                return {"synergyway": int(client.llen("synergyway")), "unacked": int(client.hlen("unacked"))}
        # The management API's figures are some seconds old.
        code, output = self.server.container.get_wrapped_container().exec_run(
            ["rabbitmqctl", "--silent", "list_queues", "-p", self.vhost, "name", "messages", "--formatter", "json"]
        )
        assert code == 0, output
        return {queue["name"]: int(queue["messages"]) for queue in json.loads(output)}

    def run_ended(self, task: str = "sync_users") -> dict[str, Any] | None:
        """The latest run of a job, when it is over."""
        rows = self.pg.rows("SELECT * FROM runs WHERE task = %s ORDER BY id DESC LIMIT 1", task)
        return rows[0] if rows and rows[0]["finished_at"] else None

    def close(self) -> None:
        for role in self.roles:
            if role.process.poll() is None:
                role.kill()
        for port in self.metrics_ports:
            # What a worker that is killed leaves for the next one on its port.
            shutil.rmtree(f"/dev/shm/synergyway-metrics-{os.getuid()}-{port}", ignore_errors=True)
