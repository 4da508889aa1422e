"""What the roles count on a real broker, with workers dying on the way, held against what the database says."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.deployment import Deployment, eventually
from tests.fake_source import Answer, DummyJsonLike, FakeSource
from tests.integration.test_brokers import ADDRESSES, CARDS, SYNC, nothing_is_open, slowed
from tests.scrape import free_ports, scrape

Sample = Callable[[int], DummyJsonLike]

NAMES = (SYNC, ADDRESSES, CARDS)
on_rabbitmq = pytest.mark.parametrize("deployment", ["rabbitmq"], indirect=True)


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def folder_of(port: int) -> Path:
    return Path(f"/dev/shm/synergyway-metrics-{os.getuid()}-{port}")


@pytest.mark.timeout(300)
@on_rabbitmq
def test_counters_agree_with_the_database_though_children_are_killed(
    deployment: Deployment, source: FakeSource, sample: Sample, port: int
) -> None:
    chunks, kills = 1_000, 4
    users = slowed(sample(chunks), 0.02)
    source.respond = lambda path, query: users(path, query) if path == "/users" else Answer({"people": []})
    # A chunk for each user, and enrichments that end with their first answer.
    variables = {"USERS_PAGE_SIZE": "1", "CHUNK_ROWS": "1"} | {
        f"{noun}_API_URL": f"{source.base_url}/nothing" for noun in ("ADDRESS", "CREDIT_CARD")
    }
    worker = deployment.worker(METRICS_PORT=str(port), **variables)
    deployment.call(SYNC)

    for kill in range(1, kills + 1):
        enough = f"SELECT count(*) >= {kill * 180} FROM users"
        eventually(lambda enough=enough: deployment.pg.value(enough))
        before = set(worker.children())
        os.kill(max(before), signal.SIGKILL)
        eventually(lambda before=before: len(set(worker.children()) - before) == 1)
    run = eventually(deployment.run_ended, 120)
    eventually(lambda: nothing_is_open(deployment))
    seen = scrape(port)

    assert (run["status"], run["inserted"], run["rejected"]) == ("succeeded", chunks, 0)
    # Each kill may have come between a commit and its count, or between two tasks.
    written = seen.value("synergyway_rows_total", task="sync_users", result="inserted")
    assert chunks - kills <= written <= chunks
    lost = seen.value("celery_task_failed_total", exception="WorkerLostError")
    assert 1 <= lost <= kills
    succeeded = seen.value("celery_task_succeeded_total", name=SYNC)
    assert chunks - kills <= succeeded <= chunks + kills
    started = seen.value("celery_task_started_total", name=SYNC)
    assert abs(started - succeeded - lost) <= kills
    assert seen.value("celery_task_received_total", name=SYNC) >= started
    asked = seen.value("synergyway_provider_requests_total", outcome="ok")
    assert abs(asked - len(source.requests)) <= kills
    assert seen.value("synergyway_runs_total", task="sync_users", status="succeeded") == 1
    failed = seen.by("synergyway_runs_total", "task", "status")
    assert failed[("enrich_missing_addresses", "failed")] == failed[("enrich_missing_cards", "failed")] == 1


@on_rabbitmq
def test_recycled_children_leave_no_files_and_counters_never_fall(
    deployment: Deployment, source: FakeSource, sample: Sample, port: int
) -> None:
    source.respond = sample(1)
    worker = deployment.start("worker", "--concurrency", "2", "--max-tasks-per-child", "20", METRICS_PORT=str(port))
    eventually(lambda: " ready." in worker.log())
    # Chunks that are not there are the smallest tasks that a worker can do.
    deployment.send(SYNC, 100, chunk_id=0)
    eventually(lambda: scrape(port).value("celery_task_succeeded_total") == 100)
    files = {file.name: file.stat().st_size for file in folder_of(port).iterdir()}
    first_children = set(worker.children())

    deployment.send(SYNC, 2_000, chunk_id=0)
    counters: dict[tuple[str, str], float] = {}
    while (seen := scrape(port)).value("celery_task_succeeded_total") < 2_100:
        counted = {
            (s.name, str(sorted(s.labels.items()))): s.value
            for s in seen.samples
            if s.name.endswith(("_total", "_count", "_bucket", "_sum"))
        }
        fallen = {key: (value, counted.get(key)) for key, value in counters.items() if counted.get(key, 0) < value}
        assert not fallen
        counters = counted
        time.sleep(0.2)

    assert not first_children & set(worker.children()) - set(worker.children()[:1])
    assert {file.name: file.stat().st_size for file in folder_of(port).iterdir()} == files
    assert {name.rpartition("_")[2] for name in files} == {"main.db", "0.db", "1.db"}
    assert seen.value("celery_task_started_total") == seen.value("celery_task_runtime_count") == 2_100
    assert worker.stop() == 0
    assert not folder_of(port).exists()


@on_rabbitmq
def test_a_call_from_a_shell_leaves_the_workers_files_alone(
    deployment: Deployment, source: FakeSource, sample: Sample, port: int
) -> None:
    source.respond = sample(5)
    deployment.worker(METRICS_PORT=str(port))
    before = {file: file.stat().st_mtime_ns for file in folder_of(port).iterdir()}
    # As `kubectl exec` does: the worker's own environment.
    deployment.environment["METRICS_PORT"] = str(port)

    deployment.call("app.tasks.users.no_such_task")
    eventually(lambda: scrape(port).value("celery_task_rejected_total", name="unknown") == 1)

    after = {file: file.stat().st_mtime_ns for file in folder_of(port).iterdir()}
    assert after.keys() == before.keys()
    assert scrape(port).value("celery_task_sent_total") == 0
    # And no second process shows itself on the worker's port.
    assert scrape(port).value("celery_worker_up") == 1


@on_rabbitmq
def test_a_task_that_is_killed_by_its_time_limit_is_one_failure(
    deployment: Deployment, source: FakeSource, sample: Sample, port: int
) -> None:
    source.respond = slowed(sample(1), 60)
    limits = {
        "TASK_SOFT_TIME_LIMIT_SECONDS": "3",
        "TASK_TIME_LIMIT_SECONDS": "4",
        "PROVIDER_TIMEOUT_SECONDS": "30",
        "PROVIDER_CONNECT_TIMEOUT_SECONDS": "1",
        "CHUNK_LEASE_SECONDS": "130",
    }
    worker = deployment.worker(concurrency=1, METRICS_PORT=str(port), **limits)
    deployment.call(SYNC)
    eventually(lambda: source.requests)
    # It cannot hear the soft limit's signal.
    child = worker.children()[-1]
    os.kill(child, signal.SIGSTOP)

    seen = eventually(lambda: (s := scrape(port)).value("celery_task_failed_total") and s)

    failed = seen.by("celery_task_failed_total", "name", "exception")
    assert {key: count for key, count in failed.items() if count} == {(SYNC, "TimeLimitExceeded"): 1}
    lines = [json.loads(line) for line in worker.log().splitlines()]
    (told,) = [line for line in lines if line["message"].startswith("Hard time limit")]
    assert told["task_name"] == SYNC
    assert told["task_id"] in {line["task_id"] for line in lines if line["message"].endswith("received")}


@on_rabbitmq
def test_deaths_are_shown_before_there_are_any(deployment: Deployment, port: int) -> None:
    """A counter that begins with the first of them hides that one from increase(), and so from the alert."""
    deployment.worker(METRICS_PORT=str(port))

    deaths = scrape(port).by("celery_task_failed_total", "name", "exception")

    assert deaths == {(name, death): 0 for name in NAMES for death in ("WorkerLostError", "TimeLimitExceeded")}


@on_rabbitmq
def test_retries_and_failures_are_told_apart(
    deployment: Deployment, source: FakeSource, sample: Sample, port: int
) -> None:
    source.answer(b"busy", status=503, headers={"Retry-After": "1"})
    deployment.worker(METRICS_PORT=str(port))
    deployment.call(SYNC)
    eventually(lambda: scrape(port).value("celery_task_retried_total", name=SYNC) >= 1)
    source.answer({"people": []})

    eventually(deployment.run_ended, 60)
    seen = eventually(lambda: (s := scrape(port)).value("celery_task_failed_total") and s)

    assert seen.value("celery_task_failed_total", name=SYNC, exception="ProviderError") == 1
    assert seen.value("synergyway_runs_total", task="sync_users", status="failed") == 1
    assert seen.value("synergyway_provider_requests_total", outcome="unavailable") >= 1
    assert seen.value("synergyway_provider_requests_total", outcome="ok") == 1
    assert seen.value("celery_task_sent_total", name=SYNC) == seen.value("celery_task_retried_total", name=SYNC)
    # A delayed message waits from the time that it was delayed to.
    waited = seen.value("celery_task_queue_wait_time_sum", name=SYNC)
    assert waited / seen.value("celery_task_queue_wait_time_count", name=SYNC) < 1


def test_beat_tells_freshness_backlogs_and_queues(deployment: Deployment, source: FakeSource, sample: Sample) -> None:
    users = sample(30)
    for number in (1, 2, 3):
        users.users[number].pop("address")
    source.respond = users
    beat_port, worker_port = free_ports(2)
    started = time.time()
    deployment.worker(METRICS_PORT=str(worker_port))
    deployment.start("beat", METRICS_PORT=str(beat_port))
    eventually(lambda: nothing_is_open(deployment) and deployment.run_ended("enrich_missing_cards"), 60)
    deployment.pg.rows("UPDATE users SET created_at = now() - interval '2 hours' WHERE external_id = 29")
    deployment.pg.rows("DELETE FROM credit_cards WHERE user_id IN (SELECT id FROM users WHERE external_id > 28)")

    seen = eventually(
        lambda: (s := scrape(beat_port)).value("synergyway_backlog_users", noun="cards", state="waiting") == 2 and s, 40
    )

    assert seen.by("synergyway_backlog_users", "noun", "state") == {
        ("addresses", "waiting"): 0,
        ("addresses", "put_off"): 3,
        ("cards", "waiting"): 2,
        ("cards", "put_off"): 0,
    }
    assert seen.value("synergyway_oldest_missing_age_seconds", noun="cards") == pytest.approx(7_200, abs=120)
    assert seen.value("synergyway_oldest_missing_age_seconds", noun="addresses") == 0
    succeeded = seen.by("synergyway_last_success_timestamp_seconds", "task")
    assert len(succeeded) == 3
    assert all(started - 60 < moment <= time.time() for moment in succeeded.values())
    assert seen.value("synergyway_beat_last_look_timestamp_seconds") > started
    assert seen.by("celery_queue_length", "queue_name") == {("synergyway",): 0, ("synergyway.dead",): 0}
    if deployment.broker == "rabbitmq":
        assert seen.by("celery_active_consumer_count", "queue_name") == {("synergyway",): 1, ("synergyway.dead",): 0}
    # Schedules that come every 10 and 15 minutes.
    assert set(seen.by("synergyway_stale_after_seconds", "task").values()) == {3_600}
    assert seen.value("celery_task_sent_total") == 3
    assert seen.by("synergyway_runs_total", "status") == {("skipped",): 0}
    # Two connections a process, of beat and of a worker with two children.
    assert (
        seen.value("synergyway_database_pool_size"),
        scrape(worker_port).value("synergyway_database_pool_size"),
    ) == (2, 6)


@on_rabbitmq
def test_connections_of_a_killed_child_are_not_in_use(
    deployment: Deployment, source: FakeSource, sample: Sample, port: int
) -> None:
    source.respond = sample(1)
    worker = deployment.worker(METRICS_PORT=str(port))
    _, *pool = worker.children()

    with psycopg.connect(deployment.pg.url.replace("+psycopg", "")) as blocking:
        # So that a child waits with a connection in its hands.
        blocking.execute("LOCK TABLE run_chunks, runs")
        deployment.send(SYNC, 1, chunk_id=0)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        eventually(lambda: deployment.pg.value(waits) and scrape(port).value("celery_worker_tasks_active") == 1)
        # The reaper, in the parent, may wait as well.
        eventually(lambda: scrape(port).value("synergyway_database_pool_in_use") == deployment.pg.value(waits))
        for child in pool:
            os.kill(child, signal.SIGKILL)
        eventually(lambda: not set(pool) & set(worker.children()))

    eventually(lambda: scrape(port).value("celery_task_succeeded_total", name=SYNC) == 1)
    eventually(lambda: scrape(port).value("synergyway_database_pool_in_use") == 0)


@on_rabbitmq
def test_queues_are_as_deep_as_the_broker_says(deployment: Deployment, source: FakeSource, port: int) -> None:
    worker = deployment.worker()
    deployment.call("app.tasks.users.no_such_task")
    eventually(lambda: deployment.messages("synergyway.dead") == 1)
    worker.stop()
    deployment.send(SYNC, 3, chunk_id=0)

    deployment.start("beat", METRICS_PORT=str(port), USERS_SCHEDULE_CRON="0 0 1 1 *", ENRICH_CC_CRON="0 3 * * *")

    def depths() -> dict[tuple[str, ...], float]:
        return scrape(port).by("celery_queue_length", "queue_name")

    # Beat's own first ticks come on top.
    assert eventually(lambda: (d := depths()) and d[("synergyway.dead",)] == 1 and d)[("synergyway",)] >= 3
    assert scrape(port).value("celery_active_consumer_count", queue_name="synergyway") == 0
    # What comes seldom may be old: three days, and three years.
    assert scrape(port).by("synergyway_stale_after_seconds", "task") == {
        ("sync_users",): 3 * 366 * 86_400,
        ("enrich_missing_addresses",): 3_600,
        ("enrich_missing_cards",): 3 * 86_400,
    }
