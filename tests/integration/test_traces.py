"""One trace from beat's tick through the queue to the source and the database, and a collector that is not there."""

import json
import socket
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from app import tracing
from app.records import UserRecord
from app.sample_provider import user as sample_user
from tests.conftest import Mirror
from tests.deployment import Deployment, Role, eventually
from tests.fake_source import DummyJsonLike, FakeSource
from tests.integration.test_brokers import SYNC, nothing_is_open
from tests.integration.test_journey import Spoiler, secrets
from tests.otlp import Collector, SeenSpan
from tests.scrape import free_ports, scrape

USERS = 40
PASSWORD = "geheim-im-weg"

on_rabbitmq = pytest.mark.parametrize("deployment", ["rabbitmq"], indirect=True)


def below(spans: list[SeenSpan], span: SeenSpan) -> list[SeenSpan]:
    """All spans under this one, however deep."""
    children = [child for child in spans if child.parent_id == span.span_id]
    return children + [deeper for child in children for deeper in below(spans, child)]


def json_lines(role: Role) -> list[dict[str, object]]:
    return [json.loads(line) for line in role.log().splitlines()]


@on_rabbitmq
def test_a_tick_is_one_trace_down_to_the_last_request_and_statement(
    deployment: Deployment, source: FakeSource, collector: Collector
) -> None:
    users = DummyJsonLike({number: sample_user(number) for number in range(1, USERS + 1)})
    source.respond = Spoiler(users)
    host = source.base_url.removeprefix("http://")
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "500"} | {
        f"{noun}_API_URL": f"http://user:{PASSWORD}@{host}/users" for noun in ("USERS", "ADDRESS", "CREDIT_CARD")
    }
    metrics_port = str(free_ports(1)[0])
    worker = deployment.worker(USERS_PAGE_SIZE="10", CHUNK_ROWS="20", METRICS_PORT=metrics_port, **traced)
    beat = deployment.start("beat", **traced)
    asked = "SELECT count(*) FROM users WHERE has_address AND (has_card OR card_checks > 0)"
    eventually(lambda: deployment.pg.value(asked) == USERS and nothing_is_open(deployment), 90)
    assert beat.stop() == 0
    assert worker.stop() == 0

    runs = deployment.pg.rows("SELECT id, task, trigger, trace_id FROM runs ORDER BY id")
    by_beat = {run["task"]: run for run in runs if run["trigger"] == "beat"}
    assert len({run["trace_id"] for run in by_beat.values()}) == 3
    sync = by_beat["sync_users"]
    trace = collector.trace(sync["trace_id"])

    (tick,) = (span for span in trace if not span.parent_id)
    assert (tick.service, tick.name) == ("synergyway-beat", "tick sync_users")
    assert len(below(trace, tick)) == len(trace) - 1
    # The tick's own message, one for the second chunk, and one for each enrichment that follows.
    published = [span for span in trace if span.kind == "PRODUCER"]
    assert {span.name for span in published} >= {"publish sync_users", "publish enrich_missing_addresses"}
    performed = [span for span in trace if span.name == "run sync_users"]
    assert [span.service for span in performed] == ["synergyway-worker"] * 2
    assert {span.parent_id for span in performed} <= {span.span_id for span in published}
    assert {span.attributes["synergyway.run_id"] for span in performed} == {sync["id"]}
    under = [span for chunk in performed for span in trace if span.parent_id == chunk.span_id]
    pages = [query for _, query in source.requests if "firstName" in query.get("select", "")]
    assert len([span for span in under if span.name == "GET"]) == len(pages) >= USERS / 10
    assert any("INSERT INTO users" in str(span.attributes.get("db.query.text")) for span in under)
    followups = [run for run in runs if run["trigger"] == "followup" and run["trace_id"] == sync["trace_id"]]
    assert followups
    assert any(span.name == "run enrich_missing_addresses" for span in trace)

    # From the log line of a run to its trace.
    (line,) = (
        line for line in json_lines(worker) if str(line["message"]).startswith(f"run {sync['id']} of sync_users")
    )
    assert line["trace_id"] == sync["trace_id"]
    assert {"span_id", "task_id", "task_name", "run_id", "service", "version", "time", "level", "logger"} <= line.keys()
    (line,) = (line for line in json_lines(beat) if str(line["message"]).startswith(f"run {sync['id']} of sync_users"))
    assert line["trace_id"] == sync["trace_id"]

    sent = b"".join(collector.bodies)
    assert b"INSERT INTO credit_cards" in sent
    emails = [sample_user(number)["email"] for number in range(1, USERS + 1)]
    assert [secret for secret in (*secrets(), *emails, PASSWORD) if secret.encode() in sent] == []


@on_rabbitmq
def test_retries_and_what_is_published_again_stay_in_the_runs_trace(
    deployment: Deployment, source: FakeSource, sample: Callable[[int], DummyJsonLike], collector: Collector
) -> None:
    source.answer(b"busy", status=503, headers={"Retry-After": "1"})
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    worker = deployment.worker(**traced)
    deployment.call(SYNC)
    eventually(lambda: any("celery.retry_reason" in span.attributes for span in collector.spans))
    # The message is lost with its queue; the reaper publishes the chunk again.
    worker.kill()
    deployment.purge()
    deployment.pg.rows("UPDATE run_chunks SET not_before = now(), expected_by = now()")
    source.respond = sample(5)
    worker = deployment.worker(**traced)

    run = eventually(deployment.run_ended)
    eventually(lambda: nothing_is_open(deployment))
    assert worker.stop() == 0

    performed = [span for span in collector.trace(run["trace_id"]) if span.name == "run sync_users"]
    assert len(performed) >= 2
    assert {span.trace_id for span in collector.spans if span.name == "run sync_users"} == {run["trace_id"]}


@on_rabbitmq
def test_recycled_children_send_their_last_spans(
    deployment: Deployment, source: FakeSource, collector: Collector
) -> None:
    worker = deployment.start(
        "worker", "--concurrency", "1", "--max-tasks-per-child", "2", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
    )
    eventually(lambda: " ready." in worker.log())

    deployment.send(SYNC, 6, chunk_id=0)

    # The exporter's own time comes every five seconds; a child that is through with its two tasks ends before.
    eventually(lambda: len([span for span in collector.spans if span.name == "run sync_users"]) == 6)


@on_rabbitmq
@pytest.mark.parametrize("fault", ["refuses", "is silent"])
def test_a_dead_collector_slows_nothing_and_fills_no_log(
    deployment: Deployment, source: FakeSource, sample: Callable[[int], DummyJsonLike], fault: str
) -> None:
    source.respond = sample(200)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if fault == "refuses":
            silent.close()
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200", "USERS_PAGE_SIZE": "10"}
        worker = deployment.worker(**variables)
        beat = deployment.start("beat", **variables)

        eventually(lambda: deployment.pg.value("SELECT count(*) FROM users WHERE has_address AND has_card") == 200, 60)
        eventually(lambda: nothing_is_open(deployment))
        # A role that hung on its collector would run into this.
        assert [beat.stop(15), worker.stop(15)] == [0, 0]

    for role in (beat, worker):
        about = [line for line in json_lines(role) if "opentelemetry" in str(line["logger"])]
        # One a minute from each of its processes.
        assert len(about) <= 2 * 2, about
        assert about or fault == "is silent"
        assert not [line for line in about if line["level"] == "CRITICAL"]


@on_rabbitmq
def test_a_request_over_http_begins_the_trace_of_its_run(
    deployment: Deployment,
    source: FakeSource,
    sample: Callable[[int], DummyJsonLike],
    collector: Collector,
    open_client: Callable[..., TestClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source.respond = sample(5)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    (port,) = free_ports(1)
    worker = deployment.worker(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    token = "t" * 32
    client = open_client(
        API_TOKEN=token, METRICS_PORT=port, CELERY_BROKER_URL=deployment.environment["CELERY_BROKER_URL"]
    )

    answer = client.post("/runs", json={"task": "sync_users"}, headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 202
    assert eventually(deployment.run_ended)["status"] == "succeeded"
    eventually(lambda: nothing_is_open(deployment))
    assert worker.stop() == 0
    assert scrape(port).value("celery_task_sent_total", name=SYNC) == 1
    tracing.stop_tracing()
    (run,) = deployment.pg.rows("SELECT trace_id FROM runs WHERE task = 'sync_users'")
    trace = collector.trace(run["trace_id"])
    (request,) = (span for span in trace if not span.parent_id)
    assert (request.service, request.name) == ("synergyway-api", "POST /runs")
    under = below(trace, request)
    assert len(under) == len(trace) - 1
    assert {span.name for span in under} >= {"publish sync_users", "run sync_users", "GET"}
    statements = [str(span.attributes.get("db.query.text")) for span in under]
    assert any("INSERT INTO runs" in statement for statement in statements)
    assert any("INSERT INTO users" in statement for statement in statements)
    assert not any(token.encode() in body for body in collector.bodies)


def test_reads_of_the_api_are_statements_without_values(
    open_client: Callable[..., TestClient], mirror: Mirror, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    mirror.add(UserRecord(4_711, "Ada", email="ada@example.com"))
    client = open_client()

    assert len(client.get("/users?q=ada@example&limit=5").json()) == 1
    client.get("/readyz")

    tracing.stop_tracing()
    request, statement = sorted(collector.spans, key=lambda span: span.kind, reverse=True)
    assert (request.name, statement.name, statement.parent_id) == ("GET /users", "SELECT", request.span_id)
    assert statement.attributes["db.system.name"] == "postgresql"
    assert "FROM users" in statement.attributes["db.query.text"]
    assert not any(b"ada@" in body for body in collector.bodies)
