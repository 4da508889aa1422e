"""The whole service on its servers, with a hand on each of its parts."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from kombu import Connection
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from redis import Redis
from testcontainers.core.container import DockerContainer

from tests.conftest import migrate
from tests.deployment import (
    Deployment,
    Role,
    Server,
    connect,
    create_database,
    impatient,
    management,
    open_vhost,
    serve,
)
from tests.fake_source import FakeSource
from tests.faults.link import Link
from tests.faults.population import Population
from tests.scrape import Scrape, free_ports

API_TOKEN = "a-token-for-the-soak"
TASKS = {
    "sync_users": "app.tasks.users.sync_users",
    "enrich_missing_addresses": "app.tasks.addresses.enrich_missing_addresses",
    "enrich_missing_cards": "app.tasks.credit_cards.enrich_missing_cards",
}
PAGE_SIZE = 20
_USERS = 1_200


@dataclass
class Worker:
    """A worker's place: when it dies, another one takes it over.

    counted: what those who are gone had counted.
    """

    port: int
    role: Role | None = None
    counted: list[Scrape] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return Path(f"/dev/shm/synergyway-metrics-{os.getuid()}-{self.port}")

    def children(self) -> list[int]:
        """The processes of the pool, once it has work: Celery ends a worker whose children die as it starts."""
        if self.role is None or '"celery.worker.strategy"' not in self.role.log():
            return []
        with suppress(OSError):
            return self.role.children()
        return []


@dataclass
class System:
    """All parts. Servers are reached directly from here, and through the links by the roles.

    random: for whatever a fault chooses. problems: a sentence for each thing that a role did and must not do.
    """

    random: Random
    folder: Path
    database: Server
    broker: Server
    database_link: Link
    broker_link: Link
    deployment: Deployment
    source: FakeSource
    population: Population
    workers: list[Worker]
    beats: list[Role] = field(default_factory=list)
    api_port: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_rabbitmq(self) -> bool:
        return self.deployment.broker == "rabbitmq"

    def start(self) -> None:
        self.api_port = self.deployment.api(API_TOKEN=API_TOKEN)
        for worker in self.workers:
            self.start_worker(worker)
        self.beats = [self.start_beat(), self.start_beat()]

    def start_worker(self, worker: Worker) -> None:
        """Does not wait until it is ready: its broker may be away."""
        name = f"worker{len(self.deployment.roles)}@%h"
        worker.role = self.deployment.start(
            "worker", "--hostname", name, "--concurrency", "2", METRICS_PORT=str(worker.port)
        )

    def start_beat(self) -> Role:
        return self.deployment.start("beat")

    def kill_worker(self, worker: Worker) -> None:
        """All its processes at once. What it had counted is kept."""
        role, worker.role = worker.role, None
        if role is not None:
            with suppress(ProcessLookupError):
                role.kill()
            # One that has ended by itself has deleted them.
            if worker.folder.is_dir():
                worker.counted.append(read_counters(worker.folder))

    def stop_worker(self, worker: Worker) -> None:
        """Lets it finish what it has begun, within two minutes."""
        role, worker.role = worker.role, None
        if role is None:
            return
        # A worker that ends in peace deletes its files: these links outlive them.
        kept = worker.folder.with_name(f"synergyway-soak-{uuid4().hex}")
        kept.mkdir()
        try:
            for file in worker.folder.glob("*.db"):
                os.link(file, kept / file.name)
            try:
                if code := role.stop(120):
                    self.problems.append(f"{role.log_file.name}: the worker that was told to stop ended with {code}")
            except subprocess.TimeoutExpired:
                self.problems.append(
                    f"{role.log_file.name}: the worker that was told to stop worked on for two minutes"
                )
                role.kill()
            worker.counted.append(read_counters(kept))
        finally:
            shutil.rmtree(kept)

    def child_of(self, port: int) -> int | None:
        """The pool process whose connection comes from this port."""
        inode = next(
            (
                fields[9]
                for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
                if int((fields := line.split())[1].rpartition(":")[2], 16) == port
            ),
            None,
        )
        for child in (child for worker in self.workers for child in worker.children()):
            with suppress(OSError):
                if any(str(fd.readlink()) == f"socket:[{inode}]" for fd in Path(f"/proc/{child}/fd").iterdir()):
                    return child
        return None

    def publish(self, body: bytes, **properties: Any) -> None:
        """A message of any kind for the workers' queue."""
        host, port = self.broker.host, self.broker.ports[5672 if self.is_rabbitmq else 6379]
        url = f"redis://{host}:{port}/0"
        if self.is_rabbitmq:
            url = f"amqp://guest:guest@{host}:{port}/{self.deployment.vhost}"
        options = {"confirm_publish": True} if self.is_rabbitmq else {}
        with Connection(url, transport_options=options, connect_timeout=5) as connection, connection.Producer() as to:
            to.publish(body, exchange="", routing_key="synergyway", content_encoding="utf-8", **properties)

    def publish_task(self, task: str, message_id: str, **arguments: Any) -> None:
        """A message as Celery sends it."""
        body = json.dumps([[], arguments, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
        headers = {"lang": "py", "task": task, "id": message_id, "root_id": message_id, "ignore_result": True}
        self.publish(
            body.encode(),
            content_type="application/json",
            headers=headers,
            correlation_id=message_id,
            delivery_mode=2,
        )

    def waiting(self) -> dict[str, int]:
        """Messages by queue, delivered ones included, the dead letters apart; only queues that hold some."""
        counts = self.deployment.queues()
        counts.pop("synergyway.dead", None)
        return {name: count for name, count in counts.items() if count}

    def dead_letters(self) -> list[tuple[str, str]]:
        """(task, why it died) of each."""
        if not self.is_rabbitmq:
            return []
        path = f"queues/{self.deployment.vhost}/synergyway.dead/get"
        wanted = {"count": 100_000, "ackmode": "ack_requeue_true", "encoding": "base64"}
        letters = json.loads(management(self.broker, "POST", path, json.dumps(wanted).encode()))
        found = []
        for letter in letters:
            headers = letter["properties"].get("headers", {})
            ours = [death["reason"] for death in headers.get("x-death", []) if death["queue"] == "synergyway"]
            found.append((str(headers.get("task", "no task at all")), ours[0] if ours else "unknown"))
        return found

    def redis(self) -> Redis:
        return Redis(self.broker.host, self.broker.ports[6379], socket_timeout=5)

    def purge(self) -> None:
        """Loses all messages but the dead letters."""
        if not self.is_rabbitmq:
            with self.redis() as client:
                client.delete("synergyway", "unacked", "unacked_index")
            return
        for queue in json.loads(management(self.broker, "GET", f"queues/{self.deployment.vhost}")):
            if queue["type"] == "quorum" and queue["name"] != "synergyway.dead":
                management(self.broker, "DELETE", f"queues/{self.deployment.vhost}/{queue['name']}/contents")

    def counters(self) -> list[Scrape]:
        """What all workers have counted, those that are gone included."""
        living = [read_counters(worker.folder) for worker in self.workers if worker.role is not None]
        return [scrape for worker in self.workers for scrape in worker.counted] + living


def read_counters(folder: Path) -> Scrape:
    """What is in a worker's metrics files, which outlive its processes."""
    registry = CollectorRegistry()
    collector = MultiProcessCollector(registry, str(folder))
    return Scrape([sample for metric in collector.collect() for sample in metric.samples])


@contextmanager
def open_system(broker: str, folder: Path, seed: object) -> Iterator[System]:
    """A system that is set up and has not started its roles."""
    with ExitStack() as opened:
        database = opened.enter_context(_postgresql())
        server = opened.enter_context(_rabbitmq() if broker == "rabbitmq" else _redis())
        database_link = Link(database.host, database.ports[5432])
        broker_port = 5672 if broker == "rabbitmq" else 6379
        broker_link = Link(server.host, server.ports[broker_port])
        source = FakeSource()
        for part in (database_link, broker_link, source):
            opened.callback(part.close)
        pg = create_database(database)
        migrate(pg.url)
        vhost = open_vhost(server) if broker == "rabbitmq" else ""
        broker_url = f"redis://127.0.0.1:{broker_link.port}/0"
        backend = broker_url
        if broker == "rabbitmq":
            broker_url = f"amqp://guest:guest@127.0.0.1:{broker_link.port}/{vhost}"
            backend = "rpc://"
        database_url = f"postgresql+psycopg://postgres:postgres@127.0.0.1:{database_link.port}/{pg.name}"
        (nobody,) = free_ports(1)
        environment = {
            **impatient(database_url, source.url, {"CELERY_BROKER_URL": broker_url, "CELERY_RESULT_BACKEND": backend}),
            **{f"{job}_CRON": "* * * * *" for job in ("USERS_SCHEDULE", "ENRICH_ADDR", "ENRICH_CC")},
            "ENRICH_BATCH_SIZE": "1000",
            "USERS_PAGE_SIZE": str(PAGE_SIZE),
            "CHUNK_ROWS": str(6 * PAGE_SIZE),
            # A collector that is always away.
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{nobody}",
        }
        deployment = Deployment(pg, environment, folder, broker, server, vhost)
        opened.callback(deployment.close)
        population = Population(_USERS, Random(f"population {seed}"))
        source.respond = population
        workers = [Worker(port) for port in free_ports(2)]
        yield System(
            Random(f"faults {seed}"),
            folder,
            database,
            server,
            database_link,
            broker_link,
            deployment,
            source,
            population,
            workers,
        )


def _bound(image: str, *ports: int) -> DockerContainer:
    """On ports of this machine that stay the same when it is started again."""
    container = DockerContainer(image)
    for port, here in zip(ports, free_ports(len(ports)), strict=True):
        container.with_bind_ports(port, here)
    return container


def _postgresql() -> Any:
    container = _bound("postgres:17", 5432).with_env("POSTGRES_PASSWORD", "postgres")
    # What is committed survives its processes; it need not survive the machine.
    container.with_command("postgres -c fsync=off -c max_connections=200")
    return serve(container, 5432, ready=database_is_up)


def _rabbitmq() -> Any:
    return serve(_bound("rabbitmq:4-management", 5672, 15672), 5672, 15672, ready=rabbitmq_is_up)


def _redis() -> Any:
    container = _bound("redis:8", 6379).with_command("redis-server --protected-mode no --appendonly yes")
    return serve(container, 6379, ready=redis_is_up)


def database_is_up(server: Server) -> bool:
    with connect(server, "postgres"):
        return True


def rabbitmq_is_up(server: Server) -> bool:
    return bool(management(server, "GET", "overview"))


def redis_is_up(server: Server) -> bool:
    with Redis(server.host, server.ports[6379], socket_timeout=5) as client:
        return bool(client.ping())
