"""What is counted of requests, sources, rows and runs, and the port that shows it."""

import logging
import re
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from app import tracing
from app.api.starting import Starter
from app.db import Database
from app.errors import ConfigurationError
from app.metrics import JobMetrics, serve
from app.records import Job, Status, Trigger, UserRecord
from app.services.requests import request_run
from app.services.runs import start_tick
from app.settings import load_settings
from app.worker.pool_metrics import watch_pool
from tests.conftest import LocalWorker, Mirror
from tests.fake_source import Answer, DummyJsonLike, FakeSource
from tests.otlp import Collector
from tests.scrape import Scrape, free_ports, scrape

Client = Callable[..., Any]
COUNT = "http_request_duration_seconds_count"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def requests_in(seen: Scrape) -> dict[tuple[str, ...], float]:
    return seen.by(COUNT, "method", "route", "status")


def test_requests_are_counted_by_method_route_and_status(open_client: Client, mirror: Mirror, port: int) -> None:
    mirror.add(UserRecord(1, "Ada"))
    client = open_client(METRICS_PORT=port)
    for path in ("/users", "/users?limit=5", "/users/1", "/users/2", "/users?limit=0", "/users/ui", "/healthz"):
        client.get(path)
    client.get("/", follow_redirects=False)
    client.get("/static/page.css")
    client.get("/openapi.json")
    client.post("/users")

    seen = scrape(port)

    assert requests_in(seen) == {
        ("GET", "/users", "200"): 2,
        ("GET", "/users", "422"): 1,
        ("GET", "/users/{user_id}", "200"): 1,
        ("GET", "/users/{user_id}", "404"): 1,
        ("GET", "/users/ui", "200"): 1,
        ("GET", "/healthz", "200"): 1,
        ("GET", "/", "307"): 1,
        ("GET", "other", "200"): 2,
        ("POST", "/users", "405"): 1,
    }
    assert seen.value("http_requests_in_flight") == 0
    assert seen.value("synergyway_database_pool_size") >= 1
    assert seen.by("synergyway_database_pool_failures_total") == {(): 0}
    assert seen.by("synergyway_build_info", "role") == {("api",): 1}
    assert seen.value("process_resident_memory_bytes") > 0


def test_what_is_asked_for_adds_no_series(open_client: Client, mirror: Mirror, port: int) -> None:
    ids = mirror.add(*(UserRecord(number, f"User {number}") for number in range(1, 30)))
    client = open_client(METRICS_PORT=port)
    client.get(f"/users/{ids[0]}")
    client.get("/nothing")
    client.request("BREW", "/users")
    before = len(scrape(port).samples)

    for number in ids:
        client.get(f"/users/{number}?q={number}")
        client.get(f"/nothing/{number}")
        client.request(f"BREW{number}", "/users")

    seen = scrape(port)
    assert len(seen.samples) == before
    assert requests_in(seen)[("GET", "none", "404")] == 30
    assert requests_in(seen)[("other", "/users", "405")] == 30


def test_an_error_that_nobody_expected_is_a_500(open_client: Client, mirror: Mirror, port: int) -> None:
    client = open_client(METRICS_PORT=port)
    del client.app.state.database

    assert client.get("/users").status_code == 500

    seen = scrape(port)
    assert requests_in(seen) == {("GET", "/users", "500"): 1}
    assert seen.value("http_requests_in_flight") == 0


def test_exemplars_lead_from_a_bucket_to_the_trace(
    open_client: Client, mirror: Mirror, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    client = open_client(METRICS_PORT=port)
    client.get("/users")

    with urlopen(
        Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text"})
    ) as answer:
        text = answer.read().decode()
    tracing.stop_tracing()
    collector.close()

    (trace_id,) = re.findall(r'http_request_duration_seconds_bucket.* # {trace_id="([0-9a-f]{32})"}', text)
    assert collector.trace(trace_id)


def test_a_port_that_is_taken_is_said_in_one_line_and_the_api_works(
    open_client: Client, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("0.0.0.0", port)):
        client = open_client(METRICS_PORT=port)

        assert client.get("/users").status_code == 200

    (line,) = [record for record in caplog.records if record.name == "app.metrics"]
    assert line.levelno == logging.WARNING
    assert line.getMessage() == (
        f"no metrics are shown: port {port} on 0.0.0.0 cannot be had (Address already in use); "
        "METRICS_PORT chooses another one, or 0 for none"
    )


def test_the_port_is_given_back(port: int) -> None:
    for _ in range(2):
        server = serve(CollectorRegistry(), role="api", host="127.0.0.1", port=port)
        assert server is not None
        server.close()


def test_port_0_shows_nothing() -> None:
    assert serve(CollectorRegistry(), role="api", host="127.0.0.1", port=0) is None


@pytest.fixture
def outcomes(worker: LocalWorker) -> Callable[[str], float]:
    def count(outcome: str) -> float:
        labels = {"source": "auto", "outcome": outcome}
        return worker.metrics.registry.get_sample_value("synergyway_provider_requests_total", labels) or 0

    return count


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer([]), "ok"),
        (Answer(b"no", status=404), "not_found"),
        (Answer(b"no", status=403), "refused"),
        (Answer(b"no", status=429), "throttled"),
        (Answer(b"no", status=503), "unavailable"),
        (Answer(b"<html>"), "unusable"),
        (Answer([], wait_seconds=10), "unavailable"),
    ],
)
def test_requests_to_a_source_are_counted_by_how_they_end(
    worker: LocalWorker, source: FakeSource, outcomes: Callable[[str], float], answer: Answer, outcome: str
) -> None:
    source.respond = lambda path, query: answer

    try:
        worker.http.get_json(source.url)
    except Exception as error:  # noqa: BLE001  # what it was is the client's own tests' business
        assert outcome != "ok", error

    assert outcomes(outcome) == 1
    measured = worker.metrics.registry.get_sample_value(
        "synergyway_provider_request_duration_seconds_count", {"source": "auto"}
    )
    assert measured == 1


def test_rows_and_runs_are_counted_as_the_database_has_them(
    worker: LocalWorker, source: FakeSource, sample: Callable[[int], DummyJsonLike]
) -> None:
    users = sample(20)
    users.users[3]["firstName"] = users.users[3]["lastName"] = ""
    source.respond = users
    worker.call(Job.SYNC_USERS)
    users.users[1]["lastName"] = "Changed"
    worker.call(Job.SYNC_USERS)
    source.answer({"people": []})
    with pytest.raises(Exception, match="shape"):
        worker.call(Job.SYNC_USERS)

    def rows(result: str) -> float:
        labels = {"task": "sync_users", "result": result}
        return worker.metrics.registry.get_sample_value("synergyway_rows_total", labels) or 0

    (sums,) = worker.rows(
        "SELECT sum(inserted) AS inserted, sum(updated) AS updated, sum(unchanged) AS unchanged,"
        " sum(rejected) AS rejected, sum(missing) AS missing FROM runs WHERE task = 'sync_users'"
    )
    assert {name: rows(name) for name in sums} == dict(sums)
    assert (sums["inserted"], sums["updated"], sums["rejected"]) == (19, 1, 2)
    ended = {
        status: worker.metrics.registry.get_sample_value(
            "synergyway_runs_total", {"task": "sync_users", "status": status}
        )
        for status in ("succeeded", "failed")
    }
    assert ended == {"succeeded": 2, "failed": 1}


def test_runs_that_end_before_they_start_are_counted_too(worker: LocalWorker) -> None:
    def ended(job: Job, status: Status) -> float | None:
        return worker.metrics.registry.get_sample_value("synergyway_runs_total", {"task": job, "status": status})

    request_run(worker.context, Job.SYNC_USERS, Trigger.API, None)
    request_run(worker.context, Job.SYNC_USERS, Trigger.API, None)
    with pytest.raises(ConfigurationError):
        worker.call(Job.ENRICH_MISSING_CARDS, batch_size=0)

    assert ended(Job.SYNC_USERS, Status.SKIPPED) == 1
    assert ended(Job.ENRICH_MISSING_CARDS, Status.FAILED) == 1


def test_a_run_that_is_skipped_is_counted_when_that_is_committed(worker: LocalWorker) -> None:
    """A commit that fails is tried again by whoever wanted the run."""
    request_run(worker.context, Job.SYNC_USERS, Trigger.API, None)
    engine = worker.context.database.engine
    away = OperationalError("COMMIT", {}, Exception("the server is gone"))
    event.listen(engine, "commit", Mock(side_effect=[away, None]))

    with pytest.raises(OperationalError):
        start_tick(worker.context, Job.SYNC_USERS, NOON)
    start_tick(worker.context, Job.SYNC_USERS, NOON)

    asked = {"task": Job.SYNC_USERS, "status": Status.SKIPPED}
    assert worker.metrics.registry.get_sample_value("synergyway_runs_total", asked) == 1


def test_an_api_shows_the_runs_that_may_end_there_before_there_are_any() -> None:
    registry = CollectorRegistry()
    Starter(load_settings({}), registry)

    for status in (Status.FAILED, Status.SKIPPED):
        asked = {"task": Job.SYNC_USERS, "status": status}
        assert registry.get_sample_value("synergyway_runs_total", asked) == 0


def test_a_pool_tells_what_it_has_lent_and_what_it_could_not_lend(tmp_path: Path, closed_port: int) -> None:
    registry = CollectorRegistry()
    database = Database(f"sqlite:///{tmp_path}/a.db")
    watch_pool(database, registry)

    def pool(part: str, registry: CollectorRegistry = registry) -> float | None:
        return registry.get_sample_value(f"synergyway_database_pool_{part}")

    with database.transaction(), database.reading():
        assert pool("in_use") == 2
    with suppress(RuntimeError), database.reading():
        raise RuntimeError
    assert (pool("in_use"), pool("size"), pool("failures_total")) == (0, database.pool_use().size, 0)
    with database.engine.connect() as first, database.engine.connect() as second:
        first.invalidate()
        second.invalidate()
    shutil.rmtree(tmp_path)
    for failures in (1, 2, 3):
        with pytest.raises(OperationalError), database.reading():
            pass
        assert (pool("in_use"), pool("failures_total")) == (0, failures)
    database.dispose()

    away = CollectorRegistry()
    database = Database(f"postgresql+psycopg://postgres@127.0.0.1:{closed_port}/postgres", pool_size=3)
    watch_pool(database, away)
    with pytest.raises(OperationalError), database.transaction():
        pass
    assert (pool("in_use", away), pool("size", away), pool("failures_total", away)) == (0, 3, 1)


def test_metrics_of_two_processes_do_not_meet() -> None:
    first, second = JobMetrics(), JobMetrics()
    first.runs.labels("sync_users", "failed").inc()

    assert second.registry.get_sample_value("synergyway_runs_total", {"task": "sync_users", "status": "failed"}) is None


def test_every_metric_is_described_in_the_readme(open_client: Client, port: int) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    client = open_client(METRICS_PORT=port)
    client.get("/users")
    names = {
        re.sub(r"_(total|bucket|sum|count)$", "", name)
        for name in scrape(port).names()
        if not name.startswith("process_")
    }
    registry = JobMetrics().registry
    watch_pool(Database("sqlite://"), registry)
    names |= {family.name for family in registry.collect()}

    assert {name for name in names if name not in readme} == set()
