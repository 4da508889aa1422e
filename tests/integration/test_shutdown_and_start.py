"""Roles that are told to stop at a bad moment, and roles that start before what they need."""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.deployment import Deployment, Role, connect, eventually
from tests.fake_source import DummyJsonLike, FakeSource
from tests.faults.link import Link
from tests.integration.test_brokers import nothing_is_open, slowed

Sample = Callable[[int], DummyJsonLike]

SYNC = "app.tasks.users.sync_users"
TOKEN = "a-token-of-the-tests"
# How long a part is absent at the start; two minutes take ABSENT_SECONDS=120.
ABSENT_SECONDS = int(os.environ.get("ABSENT_SECONDS", "10"))
# Told to stop, a role that has nothing to finish ends in this time.
STOP_SECONDS = 20

on_rabbitmq = pytest.mark.parametrize("deployment", ["rabbitmq"], indirect=True)
absent_for_long = pytest.mark.timeout(120 + 3 * ABSENT_SECONDS)


@contextmanager
def linked(deployment: Deployment, variable: str) -> Iterator[Link]:
    """A link between the roles that are started from here on and the server whose address the variable holds."""
    url = urlsplit(deployment.environment[variable])
    assert url.hostname
    assert url.port
    link = Link(url.hostname, url.port)
    before = deployment.environment
    names = [variable]
    if variable == "CELERY_BROKER_URL" and deployment.broker == "redis":
        names.append("CELERY_RESULT_BACKEND")
    netloc = f"{url.netloc.rpartition('@')[0]}@127.0.0.1:{link.port}".removeprefix("@")
    deployment.environment = before | dict.fromkeys(names, url._replace(netloc=netloc).geturl())
    try:
        yield link
    finally:
        deployment.close()
        deployment.environment = before
        link.close()


def lines(role: Role) -> list[dict[str, str]]:
    """What a role has logged; all of it is JSON."""
    return [json.loads(line) for line in role.log().splitlines()]


# Stopping


def test_a_worker_told_to_stop_during_a_countdown_leaves_it_to_the_next_one(
    deployment: Deployment, source: FakeSource, sample: Sample
) -> None:
    source.answer(b"busy", status=503, headers={"Retry-After": "5"})
    worker = deployment.worker(concurrency=1)
    deployment.call(SYNC)
    counting = "SELECT count(*) FROM run_chunks WHERE status = 'queued' AND error_class = 'ProviderUnavailable'"
    eventually(lambda: deployment.pg.value(counting) == 1)

    assert worker.stop(STOP_SECONDS) == 0

    assert deployment.pg.value(counting) == 1
    source.respond = sample(10)
    source.requests.clear()
    deployment.worker(concurrency=1)
    run = eventually(deployment.run_ended, 60)
    assert (run["status"], run["inserted"]) == ("succeeded", 10)
    assert deployment.pg.value("SELECT count(*) FROM runs WHERE task = 'sync_users'") == 1
    pages = [query["skip"] for _, query in source.requests if "firstName" in query.get("select", "")]
    assert pages == ["0"]


def test_a_worker_told_to_stop_while_the_broker_is_away_ends_and_loses_nothing(
    deployment: Deployment, source: FakeSource, sample: Sample
) -> None:
    source.respond = slowed(sample(100), 0.3)
    with linked(deployment, "CELERY_BROKER_URL") as link:
        worker = deployment.worker(concurrency=1, USERS_PAGE_SIZE="10")
        deployment.call(SYNC)
        eventually(lambda: deployment.pg.value("SELECT count(*) FROM users") >= 10)
        link.refuse()
        eventually(lambda: "Trying again" in worker.log() or "connection lost" in worker.log().lower())

        assert worker.stop(STOP_SECONDS) == 0

        link.restore()
        source.respond = sample(100)
        deployment.worker(concurrency=1)
        eventually(lambda: deployment.pg.value("SELECT count(*) FROM users WHERE has_address AND has_card") == 100, 60)
        eventually(lambda: nothing_is_open(deployment), 60)
        assert deployment.pg.value("SELECT sum(inserted) FROM runs WHERE task = 'sync_users'") == 100


@on_rabbitmq
def test_a_worker_told_to_stop_while_the_database_is_away_ends_and_loses_nothing(
    deployment: Deployment, source: FakeSource, sample: Sample
) -> None:
    source.respond = slowed(sample(100), 0.3)
    with linked(deployment, "DATABASE_URL") as link:
        worker = deployment.worker(concurrency=1, USERS_PAGE_SIZE="10")
        deployment.call(SYNC)
        eventually(lambda: deployment.pg.value("SELECT count(*) FROM users") >= 10)
        link.refuse()
        eventually(lambda: "try again" in worker.log() or "retry" in worker.log())

        assert worker.stop(STOP_SECONDS) == 0

        link.restore()
        source.respond = sample(100)
        deployment.worker(concurrency=1)
        run = eventually(deployment.run_ended, 60)
        assert (run["status"], run["inserted"], run["unchanged"]) == ("succeeded", 100, 0)


@pytest.mark.parametrize("away", ["CELERY_BROKER_URL", "DATABASE_URL"])
def test_beat_told_to_stop_while_a_part_is_away_ends(deployment: Deployment, away: str) -> None:
    with linked(deployment, away) as link:
        link.refuse()
        beat = deployment.start("beat")
        sign = "will be published later" if away == "CELERY_BROKER_URL" else "cannot be read"
        eventually(lambda: sign in beat.log())

        assert beat.stop(STOP_SECONDS) == 0


@on_rabbitmq
def test_an_api_told_to_stop_answers_the_requests_that_it_has(deployment: Deployment) -> None:
    port = deployment.api()
    (api,) = deployment.roles
    answers: list[int] = []

    def ask() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/users", timeout=30) as response:
            answers.append(response.status)

    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with connect(deployment.pg.server, deployment.pg.name) as connection, connection.transaction():
        connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        requests = [threading.Thread(target=ask) for _ in range(5)]
        for request in requests:
            request.start()
        eventually(lambda: deployment.pg.value(waiting) == 5)
        api.process.terminate()
        eventually(lambda: "Waiting for connections" in api.log())
        with pytest.raises(OSError):  # noqa: PT011  # refused or reset
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5)
    for request in requests:
        request.join(30)

    assert answers == [200] * 5
    # uvicorn ends by the signal that told it to, once all is done.
    assert api.process.wait(STOP_SECONDS) in (0, -15)
    assert "Traceback" not in api.log()


# Starting


def answered(port: int, path: str, body: dict[str, str] | None = None) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {TOKEN}")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@absent_for_long
def test_roles_that_start_before_the_broker_say_so_shortly_and_work_when_it_comes(
    deployment: Deployment, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(30)
    with linked(deployment, "CELERY_BROKER_URL") as link:
        link.refuse()
        worker, beat = deployment.start("worker", "--concurrency", "1"), deployment.start("beat")
        port = deployment.api(API_TOKEN=TOKEN)
        time.sleep(ABSENT_SECONDS)

        # What is read needs no broker; what is asked for is refused, and says why.
        assert answered(port, "/readyz")[0] == 200
        status, text = answered(port, "/runs", {"task": "sync_users"})
        # Beat has noted its own run before, which is open unless the database came later than this request.
        assert (status, json.loads(text).get("status")) in ((202, "skipped"), (503, None)), text
        for role in deployment.roles:
            assert role.process.poll() is None
            told_shortly(role)
        assert "onnect" in worker.log()
        assert "published later" in beat.log()

        link.restore()
        eventually(lambda: " ready." in worker.log(), 60)
        eventually(lambda: deployment.pg.value("SELECT count(*) FROM users WHERE has_address AND has_card") == 30, 90)
        eventually(lambda: nothing_is_open(deployment), 90)
        assert answered(port, "/runs", {"task": "sync_users"})[0] == 202
        eventually(lambda: nothing_is_open(deployment), 60)
        assert (worker.stop(), beat.stop()) == (0, 0)


@absent_for_long
@on_rabbitmq
def test_roles_that_start_before_the_database_say_so_shortly_and_work_when_it_comes(
    deployment: Deployment, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(30)
    with linked(deployment, "DATABASE_URL") as link:
        link.refuse()
        worker, beat = deployment.worker(concurrency=1), deployment.start("beat")
        deployment.call(SYNC)
        port = deployment.api(ready=False, API_TOKEN=TOKEN)
        eventually(lambda: answered(port, "/healthz") == (200, '{"status":"ok"}'))
        assert answered(port, "/readyz") == (503, '{"status":"unavailable","failing":["database"]}')
        time.sleep(ABSENT_SECONDS)

        assert answered(port, "/readyz")[0] == 503
        assert answered(port, "/users")[0] == 503
        for role in deployment.roles:
            assert role.process.poll() is None
            told_shortly(role)
        assert "the runs table cannot be read" in beat.log()

        link.restore()
        eventually(lambda: answered(port, "/readyz")[0] == 200, 60)
        eventually(lambda: deployment.pg.value("SELECT count(*) FROM users WHERE has_address AND has_card") == 30, 120)
        eventually(lambda: nothing_is_open(deployment), 120)
        assert len(json.loads(answered(port, "/users?limit=100")[1])) == 30
        assert (worker.stop(), beat.stop()) == (0, 0)


def told_shortly(role: Role) -> None:
    """A line for each try and no traceback: whoever reads the log finds the reason, and the disk stays empty."""
    log = role.log()
    assert "Traceback" not in log, log
    assert len(lines(role)) < 20 + 3 * ABSENT_SECONDS, log
    assert all(line["message"] for line in lines(role))
