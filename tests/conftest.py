"""A real database, a fake outside world, and a worker that does in this process what the queue holds."""

import os
import shutil
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import select, text

from app.db import Database
from app.metrics import JobMetrics
from app.models import User
from app.providers.http import HttpClient
from app.queries import enrichment
from app.queries.users import upsert_users
from app.records import AddressRecord, CardRecord, ChunkMessage, Counts, Job, UserRecord
from app.sample_provider import user as sample_user
from app.services import runs
from app.services.addresses import address_steps
from app.services.chunks import Retry, perform
from app.services.context import Context
from app.services.credit_cards import card_steps
from app.services.users import sync_steps
from app.settings import Settings, load_settings
from tests.fake_source import DummyJsonLike, FakeSource

PROJECT = Path(__file__).parent.parent
PAYLOADS = Path(__file__).parent / "payloads"
STEPS = {
    Job.SYNC_USERS: sync_steps,
    Job.ENRICH_MISSING_ADDRESSES: address_steps,
    Job.ENRICH_MISSING_CARDS: card_steps,
}


_NAMES = {
    "integration": "tests on real PostgreSQL, RabbitMQ and Redis",
    "helm": "tests of the chart",
    "prometheus": "tests of alerts and dashboards",
    "lint": "tests of the checks",
    "faketime": "tests of clocks that are wrong",
}
_left_out: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a Docker engine, or Helm, the tests that need it are left out, unless they must not be."""
    needs = {
        "integration": ("no Docker engine answers", _engine_answers),
        "helm": ("neither Helm nor npm, which would bring it, is installed", _helm_is_here),
        "lint": ("the tools of `make check` are not installed", _lint_is_here),
        "faketime": ("faketime is not installed (Debian's package faketime)", _faketime_is_here),
        "prometheus": ("Prometheus is not installed (Debian's package prometheus)", _prometheus_is_here),
    }
    for mark, (lack, is_here) in needs.items():
        these = [item for item in items if item.get_closest_marker(mark)]
        if not these or is_here():
            continue
        # CI is set by those who run it; REQUIRE_DOCKER=1 asks for all there is.
        if os.environ.get("REQUIRE_DOCKER") == "1" or (mark == "helm" and os.environ.get("CI")):
            raise pytest.UsageError(f"no test may be left out here, and {lack}")
        _left_out.append(f"{len(these)} {_NAMES[mark]}: {lack}")
        items[:] = [item for item in items if item not in these]
        config.hook.pytest_deselected(items=these)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in _left_out:
        terminalreporter.write_line(f"SKIPPED {reason}", yellow=True)


def _engine_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], check=False, capture_output=True).returncode == 0


def _helm_is_here() -> bool:
    return (PROJECT / ".venv/helm/helm").exists() or shutil.which("helm") is not None


def _lint_is_here() -> bool:
    return (PROJECT / ".venv/lint/done").exists()


def faketime_library() -> Path | None:
    """What a process is started with so that its clock is wrong."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def _faketime_is_here() -> bool:
    return faketime_library() is not None


def _prometheus_is_here() -> bool:
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


def migrate(url: str, revision: str = "head") -> None:
    """Brings the database at the URL to a revision, as ``alembic upgrade`` (or downgrade) does."""
    config = Config(toml_file=str(PROJECT / "pyproject.toml"))
    before = os.environ.get("DATABASE_URL")
    os.environ["DATABASE_URL"] = url
    try:
        (command.downgrade if revision == "base" else command.upgrade)(config, revision)
    finally:
        if before is None:
            del os.environ["DATABASE_URL"]
        else:
            os.environ["DATABASE_URL"] = before


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables, to be copied."""
    file = tmp_path_factory.mktemp("migrated") / "template.db"
    migrate(f"sqlite+pysqlite:///{file}")
    return file


@pytest.fixture
def database_url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty database with all tables: TEST_DATABASE_URL, by default SQLite."""
    url = os.environ.get("TEST_DATABASE_URL", "sqlite+pysqlite:///:memory:")
    if url.endswith(":memory:"):
        # What is in memory is seen by one connection only, and the service reads while it writes.
        copy = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "test.db")
        return f"sqlite+pysqlite:///{copy}"
    migrate(url, "base")
    migrate(url)
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def source() -> Iterator[FakeSource]:
    source = FakeSource()
    yield source
    source.close()


@pytest.fixture
def sample() -> Callable[[int], DummyJsonLike]:
    """Makes a responder with so many generated users."""
    return lambda count: DummyJsonLike({number: sample_user(number) for number in range(1, count + 1)})


@pytest.fixture
def make_settings(database_url: str, source: FakeSource) -> Callable[..., Settings]:
    """Settings for this test, all three addresses at the fake source; variables in capitals override."""

    def make(**variables: Any) -> Settings:
        return load_settings(
            {
                "DATABASE_URL": database_url,
                "USERS_API_URL": source.url,
                "ADDRESS_API_URL": source.url,
                "CREDIT_CARD_API_URL": source.url,
                "PROVIDER_TIMEOUT_SECONDS": 2,
                "METRICS_PORT": 0,
                **variables,
            }
        )

    return make


@pytest.fixture
def closed_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class LocalWorker:
    """Does what a worker does with the queue's messages, one after another, in this process."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.queue: deque[ChunkMessage] = deque()
        self.metrics = JobMetrics()
        self.http = HttpClient(
            connect_timeout_seconds=settings.provider_connect_timeout_seconds,
            timeout_seconds=settings.provider_timeout_seconds,
            max_body_bytes=settings.provider_max_body_bytes,
            connections=settings.provider_parallelism,
            metrics=self.metrics,
        )
        self.context = Context(settings, database, self.http, self.queue.append, self.metrics)
        self.retries: list[Retry] = []

    def call(self, job: Job, batch_size: int | None = None) -> None:
        """What ``celery call`` does, and then all that follows from it."""
        message_id = uuid4().hex
        chunk_id = runs.receive(self.context, job, message_id, batch_size)
        if chunk_id is not None:
            self.perform(ChunkMessage(job, chunk_id), message_id)
        self.work_off()

    def work_off(self) -> None:
        while self.queue:
            self.perform(self.queue.popleft())

    def perform(self, message: ChunkMessage, message_id: str | None = None) -> None:
        retry = perform(self.context, message.chunk_id, message_id or uuid4().hex, STEPS[message.job])
        if retry is not None:
            self.retries.append(retry)

    def rows(self, statement: str) -> list[Any]:
        with self.context.database.reading() as connection:
            return list(connection.execute(text(statement)).mappings())

    def execute(self, statement: str) -> None:
        with self.context.database.transaction() as connection:
            connection.execute(text(statement))


@pytest.fixture
def make_worker(make_settings: Callable[..., Settings], database: Database) -> Callable[..., LocalWorker]:
    return lambda **variables: LocalWorker(make_settings(**variables), database)


@pytest.fixture
def worker(make_worker: Callable[..., LocalWorker]) -> LocalWorker:
    return make_worker()


@pytest.fixture
def synced(worker: LocalWorker, source: FakeSource, sample: Callable[[int], DummyJsonLike]) -> LocalWorker:
    """A worker that has mirrored three users: a sync, and the two runs that fill in what they lack."""
    source.respond = sample(3)
    worker.call(Job.SYNC_USERS)
    return worker


class Mirror:
    """Writes users as the jobs do, without a source."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.counts = Counts()

    def add(
        self, *users: UserRecord, address: AddressRecord | None = None, card: CardRecord | None = None
    ) -> list[int]:
        """Writes the users, each with the same address and card; their ids. ``counts`` says what became of them."""
        with self.database.transaction() as connection:
            self.counts = upsert_users(connection, users)
            found = dict(connection.execute(select(User.external_id, User.id)).tuples().all())
            ids = [found[user.external_id] for user in users]
            if address is not None:
                enrichment.write(connection, enrichment.ADDRESSES, dict.fromkeys(ids, address))
            if card is not None:
                enrichment.write(connection, enrichment.CARDS, dict.fromkeys(ids, card))
        return ids

    def rows(self, statement: str) -> list[dict[str, Any]]:
        with self.database.reading() as connection:
            return [dict(row) for row in connection.execute(text(statement)).mappings()]

    def execute(self, statement: str) -> None:
        with self.database.transaction() as connection:
            connection.execute(text(statement))


@pytest.fixture
def mirror(database: Database) -> Mirror:
    return Mirror(database)


@pytest.fixture
def open_client(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Any]]:
    """Makes a client of the API, whose failures are answers; variables in capitals override settings.

    context: what runs are started with; a worker's own puts them into its queue.
    """
    from fastapi.testclient import TestClient  # here, since app.main sets up the logs of the whole process

    from app.main import create_app

    with ExitStack() as opened:
        yield lambda context=None, **variables: opened.enter_context(
            TestClient(create_app(make_settings(**variables), context), raise_server_exceptions=False)
        )


@pytest.fixture
def client(open_client: Callable[..., Any]) -> Any:
    return open_client()
