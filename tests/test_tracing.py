"""What is traced of the api and the jobs, and that nothing is while nobody asked for it."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider

from app import tracing
from app.errors import ProviderError
from app.logging_config import configure_logging
from app.records import ChunkMessage, Job, UserRecord
from tests.conftest import PROJECT, LocalWorker, Mirror
from tests.fake_source import Answer, DummyJsonLike, FakeSource
from tests.otlp import Collector, SeenSpan
from tests.test_logging import lines, logs_as_before  # noqa: F401  # a fixture

SECRET = "geheim-4556737586899855"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Where this process is told to send its spans."""
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    yield collector
    tracing.stop_tracing()
    collector.close()


def sent(collector: Collector) -> list[SeenSpan]:
    """What has been sent when the process ends."""
    tracing.stop_tracing()
    return collector.spans


def test_nothing_is_traced_or_imported_without_an_endpoint() -> None:
    program = (
        "import sys; from app import main, celery_app, tracing\n"
        "assert not tracing.set_up_tracing('api')\n"
        "with tracing.span('x') as span: assert not span.is_recording() and tracing.current_ids() is None\n"
        "heavy = [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter',"
        " 'opentelemetry.instrumentation', 'opentelemetry.proto'))]\n"
        "assert not heavy, heavy\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, env=environment, check=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_EXPORTER", "None")],
)
def test_the_standard_switches_turn_it_off(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    assert not tracing.set_up_tracing("api")


def test_a_span_ends_whatever_its_error_does(collector: Collector) -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("there is no word for it")

    tracing.set_up_tracing("api")
    with pytest.raises(RuntimeError), tracing.span("fails"):
        raise UnspeakableError

    assert tracing.current_ids() is None
    assert [span.name for span in sent(collector)] == ["fails"]


def test_a_request_is_a_span_named_by_its_route_with_its_statement_below(
    collector: Collector, open_client: Callable[..., Any], mirror: Mirror
) -> None:
    mirror.add(UserRecord(1, "Ada", email="ada@example.com"))
    client = open_client()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    client.get(f"/users/1?token={SECRET}", headers={"traceparent": parent, "Authorization": f"Bearer {SECRET}"})

    spans = sent(collector)
    (request,) = (span for span in spans if span.kind == "SERVER")
    assert (request.service, request.role, request.name) == ("synergyway-api", "api", "GET /users/{user_id}")
    assert (request.trace_id, request.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/users/{user_id}",
        "http.response.status_code": 200,
        "url.path": "/users/1",
    }
    statements = [span for span in spans if "db.query.text" in span.attributes]
    assert statements
    assert {span.parent_id for span in statements} == {request.span_id}
    assert not any(SECRET.encode() in body or b"ada@" in body for body in collector.bodies)


def test_probes_are_no_traces(collector: Collector, open_client: Callable[..., Any]) -> None:
    client = open_client()

    for path in ("/healthz", "/readyz", "/static/page.css"):
        client.get(path)

    assert sent(collector) == []


def test_an_answer_that_is_our_fault_is_marked(
    collector: Collector, open_client: Callable[..., Any], mirror: Mirror
) -> None:
    client = open_client()
    mirror.execute("DROP TABLE users")

    assert client.get("/users").status_code == 503
    assert client.get("/users/0").status_code == 422

    answers = {span.attributes["http.response.status_code"]: span for span in sent(collector) if span.kind == "SERVER"}
    assert answers[503].failed
    assert not answers[422].failed


def test_a_chunk_asks_the_source_in_the_trace_that_it_belongs_to(
    collector: Collector, worker: LocalWorker, source: FakeSource
) -> None:
    source.respond = DummyJsonLike({1: {"id": 1, "firstName": "Ada", "lastName": "Lovelace"}})
    tracing.set_up_tracing("worker")

    with tracing.span("run sync_users"):
        worker.call(Job.SYNC_USERS)

    (run,) = worker.rows("SELECT DISTINCT trace_id FROM runs")
    spans = sent(collector)
    assert {span.trace_id for span in spans} == {run["trace_id"]}
    asked = [span for span in spans if span.kind == "CLIENT"]
    assert len(asked) == len(source.requests)
    assert asked[0].attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "synergyway.source": "auto",
        "url.full": source.url,
    }
    (around,) = (span for span in spans if span.name == "run sync_users")
    assert around.attributes.keys() == {"synergyway.run_id", "synergyway.chunk_id"}


def test_credentials_of_an_address_are_in_no_span(
    collector: Collector, make_worker: Callable[..., LocalWorker], source: FakeSource
) -> None:
    port = source.base_url.rpartition(":")[2]
    worker = make_worker(USERS_API_URL=f"http://user:{SECRET}@127.0.0.1:{port}/users")
    source.answer(b"", status=302, headers={"Location": f"http://user:{SECRET}@127.0.0.1:1/?token={SECRET}"})
    tracing.set_up_tracing("worker")

    with tracing.span("run sync_users"):
        worker.call(Job.SYNC_USERS)

    (asked,) = (span for span in sent(collector) if span.kind == "CLIENT")
    assert asked.failed
    assert asked.attributes["url.full"] == f"http://***@127.0.0.1:{port}/users"
    assert not any(SECRET.encode() in body for body in collector.bodies)


def test_lookups_in_threads_stay_in_their_trace(
    collector: Collector, worker: LocalWorker, source: FakeSource, sample: Callable[[int], DummyJsonLike]
) -> None:
    users = sample(8)
    source.respond = users
    worker.call(Job.SYNC_USERS)
    worker.execute("DELETE FROM addresses")
    # The page is of no use, so that each user is asked for.
    users.spoiled[1] = Answer(b"no", status=404)
    tracing.set_up_tracing("worker")

    with tracing.span("run enrich_missing_addresses"):
        worker.call(Job.ENRICH_MISSING_ADDRESSES)

    spans = sent(collector)
    asked = [span.attributes["http.response.status_code"] for span in spans if span.kind == "CLIENT"]
    assert asked.count(200) >= 7
    assert 404 in asked
    assert len({span.trace_id for span in spans}) == 1


def test_a_failing_publish_leaves_no_span_open(collector: Collector, closed_port: int) -> None:
    program = (
        "import json, sys\n"
        "from app import tracing\n"
        "from app.celery_app import celery\n"
        "from app.errors import BrokerUnavailable\n"
        "from app.records import ChunkMessage, Job\n"
        "tracing.set_up_tracing('beat')\n"
        "with tracing.span('tick', carrier={}):\n"
        "    before = tracing.current_ids()\n"
        "    try: celery.context.publish(ChunkMessage(Job.SYNC_USERS, 1))\n"
        "    except BrokerUnavailable: pass\n"
        "    else: raise SystemExit('published')\n"
        "    assert tracing.current_ids() == before\n"
        "assert tracing.current_ids() is None\n"
        "tracing.stop_tracing()\n"
    )
    environment = os.environ | {"CELERY_BROKER_URL": f"amqp://guest:{SECRET}@127.0.0.1:{closed_port}//"}

    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, env=environment, check=True, timeout=60)

    spans = {span.name: span for span in collector.spans}
    assert spans.keys() == {"tick", "publish sync_users"}
    assert spans["publish sync_users"].failed
    assert not spans["tick"].failed
    assert not any(SECRET.encode() in body for body in collector.bodies)


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_message_from_outside_a_span_belongs_to_its_runs_trace() -> None:
    headers: dict[str, Any] = {}

    tracing.add_headers(headers, "0af7651916cd43dd8448eb211c80319c")

    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert len(bytes.fromhex(span_id)) == 8


def test_the_reaper_knows_the_trace_of_what_it_publishes_again(worker: LocalWorker) -> None:
    from app.services import runs

    worker.execute(
        "INSERT INTO runs (id, task, trigger, status, created_at, trace_id) VALUES"
        " (1, 'sync_users', 'beat', 'queued', CURRENT_TIMESTAMP, '0af7651916cd43dd8448eb211c80319c')"
    )
    worker.execute(
        "INSERT INTO run_chunks (id, run_id, number, status, created_at, not_before, expected_by) VALUES"
        " (1, 1, 0, 'queued', '2020-01-01 00:00:00.000000', '2020-01-01 00:00:00.000000', '2020-01-01 00:00:00.000000')"
    )

    runs.reap(worker.context)

    assert list(worker.queue) == [ChunkMessage(Job.SYNC_USERS, 1, "0af7651916cd43dd8448eb211c80319c")]


def test_ticks_begin_traces_of_their_own(
    collector: Collector, make_settings: Callable[..., Any], worker: LocalWorker
) -> None:
    from datetime import UTC, datetime

    from app.services.ticks import Ticks

    tracing.set_up_tracing("beat")
    with tracing.span("something that was left open"):
        Ticks(worker.context).start_due(datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC))

    ticks = [span for span in sent(collector) if span.name.startswith("tick ")]
    assert [span.parent_id for span in ticks] == [""] * 3
    kept = {row["trace_id"] for row in worker.rows("SELECT trace_id FROM runs")}
    assert {span.trace_id for span in ticks} == kept
    assert len(kept) == 3


def test_log_lines_name_the_open_span(
    collector: Collector, capsys: pytest.CaptureFixture[str], logs_as_before: None  # noqa: F811
) -> None:
    configure_logging(level="INFO", app_env="production", role="worker")
    tracing.set_up_tracing("worker")
    logger = logging.getLogger("app.x")

    with tracing.span("work"):
        logger.info("inside")
        logging.getLogger("sqlalchemy.engine.Engine").warning("SELECT 1")
    logger.info("outside")

    inside, statement, outside = lines(capsys)
    (span,) = sent(collector)
    assert (inside["trace_id"], inside["span_id"]) == (span.trace_id, span.span_id)
    assert (statement["trace_id"], statement["logger"]) == (span.trace_id, "sqlalchemy.engine.Engine")
    assert not {"trace_id", "span_id"} & outside.keys()


def test_a_failed_span_shows_its_error_redacted(collector: Collector) -> None:
    tracing.set_up_tracing("worker")

    with pytest.raises(ProviderError), tracing.span("work"):
        raise ProviderError(f"http://user:{SECRET}@host/ did not answer")

    (span,) = sent(collector)
    assert span.failed
    assert span.events == ["exception"]
    assert not any(SECRET.encode() in body for body in collector.bodies)


def test_only_what_can_be_looked_up_is_noted_in_the_runs(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, worker: LocalWorker, source: FakeSource
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    source.answer({"users": [], "total": 0, "skip": 0, "limit": 0})
    tracing.set_up_tracing("worker")

    with tracing.span("run sync_users"):
        assert tracing.current_ids() is not None
        worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT trace_id FROM runs") == [{"trace_id": None}]
    assert sent(collector) == []


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
@pytest.mark.parametrize("carrier", [{}, {"baggage": "a=b"}, {"traceparent": "00-nonsense"}, None])
def test_a_ratio_keeps_its_share_of_the_traces_that_begin_here(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, sampler: str, carrier: dict[str, str] | None
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.1")
    tracing.set_up_tracing("api")
    seen = set()

    for _ in range(1_000):
        with tracing.span("above", carrier=carrier), tracing.span("below"):
            ids = tracing.current_ids()
            assert ids
            seen.add(ids[0])

    spans = sent(collector)
    kept = {span.trace_id for span in spans}
    assert len(seen) == 1_000
    # Seven standard deviations to either side.
    assert 34 < len(kept) < 167
    # As every other service decides that goes by the same ratio: by the low half of the id.
    assert all(int(trace_id[16:], 16) < 2**64 * 0.1 for trace_id in kept)
    assert not [trace_id for trace_id in seen - kept if int(trace_id[16:], 16) < 2**64 * 0.1]
    assert sorted(span.name for span in spans) == ["above"] * len(kept) + ["below"] * len(kept)


@pytest.mark.parametrize(("ratio", "flags", "kept"), [("0", "01", 1), ("1", "00", 0)])
def test_whoever_sends_a_request_has_decided_whether_its_trace_is_kept(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, ratio: str, flags: str, kept: int
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
    tracing.set_up_tracing("api")
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    with tracing.span("here", carrier={"traceparent": f"00-{trace_id}-b7ad6b7169203331-{flags}"}):
        ids = tracing.current_ids()

    assert ids
    assert ids[0] == trace_id
    assert [span.name for span in sent(collector)] == ["here"] * kept


def test_requests_are_traced_once_though_fastapi_can_trace_them_too(
    collector: Collector, open_client: Callable[..., Any], mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    client = open_client()

    client.get(f"/users?q={SECRET}")

    # It would have made one of its own, for spans with the queries in them.
    assert isinstance(get_tracer_provider(), ProxyTracerProvider)
    assert [span.name for span in sent(collector) if span.kind == "SERVER"] == ["GET /users"]
    assert not [body for body in collector.bodies if SECRET.encode() in body]


@pytest.mark.parametrize(
    ("headers", "trace_id"),
    [
        ({"traceparent": f"00-{'a1' * 16}-{'b2' * 8}-01"}, "a1" * 16),
        ({"traceparent": None}, None),
        ({"traceparent": "nonsense"}, None),
        ({}, None),
    ],
)
def test_a_message_names_its_trace(headers: dict[str, str | None], trace_id: str | None) -> None:
    assert tracing.trace_id_in(headers) == trace_id
