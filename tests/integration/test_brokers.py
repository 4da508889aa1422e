"""The jobs on real brokers: sent from a shell, by beat, and with workers dying on the way."""

import json
import os
import signal
import time
from collections.abc import Callable

import pytest
from redis import Redis

from tests.deployment import Deployment, eventually
from tests.fake_source import Answer, DummyJsonLike, FakeSource, Query
from tests.faults.link import Link

Sample = Callable[[int], DummyJsonLike]

SYNC = "app.tasks.users.sync_users"
ADDRESSES = "app.tasks.addresses.enrich_missing_addresses"
CARDS = "app.tasks.credit_cards.enrich_missing_cards"


def slowed(respond: Callable[[str, Query], Answer], seconds: float) -> Callable[[str, Query], Answer]:
    def respond_slowly(path: str, query: Query) -> Answer:
        answer = respond(path, query)
        answer.wait_seconds = seconds
        return answer

    return respond_slowly


def nothing_is_open(deployment: Deployment) -> bool:
    runs = "SELECT count(*) FROM runs WHERE status IN ('queued', 'running')"
    chunks = "SELECT count(*) FROM run_chunks WHERE status IN ('queued', 'running')"
    return deployment.pg.value(runs) == 0 and deployment.pg.value(chunks) == 0


def test_tasks_called_from_a_shell_mirror_and_enrich(
    deployment: Deployment, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(50)
    worker = deployment.worker()

    deployment.call(SYNC)
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM users WHERE has_address AND has_card") == 50)
    eventually(lambda: nothing_is_open(deployment))
    deployment.pg.rows("DELETE FROM addresses")
    deployment.pg.rows("DELETE FROM credit_cards")
    deployment.call(ADDRESSES, "--args", "[20]")
    deployment.call(CARDS, "--args", "[30]")
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM addresses") == 20)
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM credit_cards") == 30)

    assert deployment.pg.rows("SELECT task, trigger, status FROM runs ORDER BY task, trigger, id") == [
        {"task": task, "trigger": trigger, "status": "succeeded"}
        for task, trigger in (
            ("enrich_missing_addresses", "cli"),
            ("enrich_missing_addresses", "followup"),
            ("enrich_missing_cards", "cli"),
            ("enrich_missing_cards", "followup"),
            ("sync_users", "cli"),
        )
    ]
    eventually(lambda: deployment.messages() == 0)
    assert worker.stop() == 0
    for line in worker.log().splitlines():
        assert json.loads(line)["role"] == "worker"


def test_a_wrong_batch_size_from_a_shell_fails_the_run_with_a_sentence(deployment: Deployment) -> None:
    deployment.worker()

    deployment.call(ADDRESSES, "--args", "[0]")

    run = eventually(lambda: deployment.run_ended("enrich_missing_addresses"))
    assert run["status"] == "failed"
    assert run["error_message"] == "batch_size must be a whole number from 1 to 100000, for example 20; it is 0"


@pytest.mark.parametrize("victim", ["child", "worker"])
def test_a_worker_killed_in_mid_run_costs_one_chunks_delay(
    deployment: Deployment, source: FakeSource, sample: Sample, victim: str
) -> None:
    # Slow enough for the kill to meet a chunk that is being worked on, and fast enough for its two seconds.
    source.respond = slowed(sample(400), 0.3)
    variables = {"USERS_PAGE_SIZE": "20", "CHUNK_ROWS": "100"}
    worker = deployment.worker(concurrency=1, **variables)
    deployment.call(SYNC)
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM users") >= 120)

    if victim == "child":
        (child,) = worker.children()[-1:]
        os.kill(child, signal.SIGKILL)
    else:
        worker.kill()
        deployment.worker(concurrency=1, **variables)

    run = eventually(deployment.run_ended, 60)
    assert (run["status"], run["inserted"], run["updated"], run["unchanged"]) == ("succeeded", 400, 0, 0)
    source.respond = sample(400)
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM users WHERE has_address AND has_card") == 400, 60)
    eventually(lambda: nothing_is_open(deployment))
    # Pages that were committed before the kill were not read again, but for the one that was on its way.
    pages = [query["skip"] for _, query in source.requests if "firstName" in query.get("select", "")]
    assert len(pages) <= 20 + 2
    lines = worker.log().splitlines()
    if victim == "worker":
        del lines[-1]  # it may have been cut off
    logged = [json.loads(line) for line in lines]
    if victim == "child":
        assert any("exited with 'signal 9 (SIGKILL)'" in line["message"] for line in logged)
        # Whoever looks for what became of the task, or of its run's trace, finds its end too.
        received, *_ = [line for line in logged if line["message"].endswith("received")]
        (lost,) = [line for line in logged if "WorkerLostError" in line["message"]]
        assert (lost["task_name"], received["task_name"]) == (SYNC, SYNC)
        assert lost["task_id"] in {line.get("task_id") for line in logged if line["message"].endswith("received")}
        assert {"task_id", "task_name"} <= received.keys()


def test_a_source_of_30000_users_finishes_with_a_time_limit_of_20_seconds(
    deployment: Deployment, source: FakeSource, sample: Sample
) -> None:
    # 300 pages of 0.1 s are 30 s of waiting alone.
    source.respond = slowed(sample(30_000), 0.1)
    limits = {"TASK_TIME_LIMIT_SECONDS": "20", "TASK_SOFT_TIME_LIMIT_SECONDS": "18", "CHUNK_SECONDS": "2"}
    deployment.worker(concurrency=2, CHUNK_ROWS="15000", **limits)

    deployment.call(SYNC)

    run = eventually(deployment.run_ended, 90)
    assert (run["status"], run["inserted"]) == ("succeeded", 30_000)
    assert deployment.pg.value("SELECT count(*) FROM users") == 30_000


def test_two_beats_make_one_run_a_tick_and_the_first_start_fills_everything(
    deployment: Deployment, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(60)
    deployment.worker()

    beats = [deployment.start("beat"), deployment.start("beat")]

    eventually(lambda: deployment.pg.value("SELECT count(*) FROM users WHERE has_address AND has_card") == 60, 60)
    eventually(lambda: nothing_is_open(deployment))
    ticks = deployment.pg.rows(
        "SELECT task, scheduled_for, count(*) FROM runs WHERE trigger = 'beat' GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert ticks == []
    assert {row["task"] for row in deployment.pg.rows("SELECT task FROM runs WHERE trigger = 'beat'")} == {
        "sync_users",
        "enrich_missing_addresses",
        "enrich_missing_cards",
    }
    assert [beat.stop() for beat in beats] == [0, 0]


def test_a_provider_that_recovers_costs_a_retry(deployment: Deployment, source: FakeSource, sample: Sample) -> None:
    source.answer(b"busy", status=503, headers={"Retry-After": "1"})
    deployment.worker()
    deployment.call(SYNC)
    eventually(lambda: source.requests)
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM run_chunks WHERE error_class = 'ProviderUnavailable'"))

    source.respond = sample(10)

    run = eventually(deployment.run_ended, 60)
    assert (run["status"], run["inserted"]) == ("succeeded", 10)


# Redis has no dead letters: there, what became of a run is in the runs table alone.
@pytest.mark.parametrize("deployment", ["rabbitmq"], indirect=True)
def test_what_no_worker_can_do_ends_among_the_dead_letters(deployment: Deployment, source: FakeSource) -> None:
    source.answer({"people": []})
    deployment.worker()

    deployment.call(SYNC)
    deployment.call("app.tasks.users.no_such_task")

    run = eventually(deployment.run_ended)
    assert (run["status"], run["error_class"]) == ("failed", "ProviderError")
    eventually(lambda: deployment.messages("synergyway.dead") == 2)
    assert deployment.messages() == 0


def test_a_lost_message_is_only_a_delay(deployment: Deployment, source: FakeSource, sample: Sample) -> None:
    source.respond = sample(10)
    deployment.pg.rows("""
        WITH run AS (
            INSERT INTO runs (task, trigger, status, created_at)
            VALUES ('sync_users', 'beat', 'queued', now()) RETURNING id
        )
        INSERT INTO run_chunks (run_id, number, status, created_at, not_before, expected_by)
        SELECT id, 0, 'queued', now(), now(), now() - interval '1 second' FROM run
        """)

    deployment.worker()

    run = eventually(deployment.run_ended)
    assert (run["status"], run["inserted"]) == ("succeeded", 10)


def test_a_worker_told_to_stop_finishes_what_it_has_begun(
    deployment: Deployment, source: FakeSource, sample: Sample
) -> None:
    source.respond = slowed(sample(100), 0.3)
    worker = deployment.worker(concurrency=1, USERS_PAGE_SIZE="20")
    deployment.call(SYNC)
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM users") >= 20)

    started = time.monotonic()
    assert worker.stop() == 0

    assert time.monotonic() - started < 20
    run = deployment.run_ended()
    assert run is not None
    assert (run["status"], run["inserted"]) == ("succeeded", 100)


def test_a_broker_that_goes_away_in_mid_task_costs_no_worker(
    deployment: Deployment, source: FakeSource, sample: Sample
) -> None:
    source.respond = slowed(sample(400), 0.3)
    port = deployment.server.ports[6379 if deployment.broker == "redis" else 5672]
    link = Link(deployment.server.host, port)
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        address = f"{deployment.server.host}:{port}"
        deployment.environment[name] = deployment.environment[name].replace(address, f"127.0.0.1:{link.port}")
    # One child works, and for the other one the worker waits for a message.
    worker = deployment.worker(concurrency=2, USERS_PAGE_SIZE="20")
    deployment.call(SYNC)
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM users") >= 20)

    link.refuse_new()
    if deployment.broker == "redis":
        # The connection for remote control is the first that it finds dead.
        with Redis(deployment.server.host, port) as client:
            client.client_kill_filter(_type="pubsub")
        time.sleep(0.1)
    link.cut()
    eventually(lambda: "Trying again in" in worker.log() or worker.process.poll() is not None)
    link.restore()

    assert worker.process.poll() is None
    run = eventually(deployment.run_ended, 60)
    assert (run["status"], run["inserted"]) == ("succeeded", 400)
    eventually(lambda: nothing_is_open(deployment), 60)
    assert worker.stop() == 0
    link.close()
