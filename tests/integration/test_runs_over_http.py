"""Runs that are asked for over HTTP, on real brokers, with workers dying and brokers away."""

import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from tests.deployment import Deployment, eventually
from tests.fake_source import DummyJsonLike, FakeSource
from tests.integration.test_brokers import nothing_is_open, slowed

Sample = Callable[[int], DummyJsonLike]

TOKEN = "a-token-for-these-tests-alone"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
_PATIENCE_SECONDS = 30
# Without its broker the api promises an answer within 3 s, for which a busy machine may take longer.
_REFUSED_SECONDS = 10


class Api:
    """An api process, as a client sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(
        self, task: str = "sync_users", key: str | None = None, seconds: float = _PATIENCE_SECONDS
    ) -> requests.Response:
        """seconds: for the whole answer, or an error."""
        headers = BEARER if key is None else {**BEARER, "Idempotency-Key": key}
        return requests.post(f"{self.url}/runs", json={"task": task}, headers=headers, timeout=seconds)

    def get(self, path: str) -> Any:
        response = requests.get(f"{self.url}{path}", timeout=_PATIENCE_SECONDS)
        response.raise_for_status()
        return response.json()


@pytest.fixture
def api(deployment: Deployment) -> Api:
    """An api that may start runs."""
    port = deployment.api(API_TOKEN=TOKEN)
    return Api(f"http://127.0.0.1:{port}")


def test_three_beats_two_workers_and_ten_posts_at_once_give_one_run_a_tick_and_a_task(
    deployment: Deployment, api: Api, source: FakeSource, sample: Sample
) -> None:
    source.respond = slowed(sample(400), 0.2)
    variables = {"USERS_PAGE_SIZE": "20", "CHUNK_ROWS": "100"}
    for _ in range(2):
        deployment.worker(**variables)
    beats = [deployment.start("beat", **variables) for _ in range(3)]

    with ThreadPoolExecutor(10) as pool:
        responses = list(pool.map(lambda _: api.post(), range(10)))

    assert {response.status_code for response in responses} == {202}
    answers = [response.json() for response in responses]
    started = [answer for answer in answers if answer["status"] != "skipped"]
    assert len(started) <= 1, "beat may have been first"
    for answer in answers:
        if answer["status"] == "skipped":
            assert api.get(f"/runs/{answer['blocked_by']}")["task"] == "sync_users"
            assert answer["error_message"] == f"run {answer['blocked_by']} of sync_users is open"
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM users WHERE has_address AND has_card") == 400, 90)
    eventually(lambda: nothing_is_open(deployment), 60)
    twice = "SELECT 1 FROM runs WHERE trigger = 'beat' GROUP BY task, scheduled_for HAVING count(*) > 1"
    assert deployment.pg.rows(twice) == []
    # Nothing was done twice: each user, address and card was written by one run.
    written = deployment.pg.rows("SELECT task, sum(inserted) AS n, sum(updated) AS m FROM runs GROUP BY task")
    assert {row["task"]: (row["n"], row["m"]) for row in written} == {
        "sync_users": (400, 0),
        "enrich_missing_addresses": (400, 0),
        "enrich_missing_cards": (400, 0),
    }
    for answer in answers:
        assert api.get(f"/runs/{answer['id']}")["status"] in ("succeeded", "skipped")
    assert [beat.stop() for beat in beats] == [0, 0, 0]


def test_a_run_whose_worker_was_killed_is_stale_and_then_done_by_its_successor(
    deployment: Deployment, api: Api, source: FakeSource, sample: Sample
) -> None:
    source.respond = slowed(sample(200), 0.3)
    worker = deployment.worker(concurrency=1, USERS_PAGE_SIZE="20")
    run = f"/runs/{api.post().json()['id']}"
    eventually(lambda: api.get(run)["rows_done"] >= 40)
    assert api.get(run)["stale"] is False

    worker.kill()
    eventually(lambda: api.get(run)["stale"], 60)
    assert api.get(run)["status"] == "running"
    deployment.worker(concurrency=1, USERS_PAGE_SIZE="20")

    eventually(lambda: api.get(run)["status"] == "succeeded", 90)
    done = api.get(run)
    assert (done["stale"], done["inserted"], done["rows_done"]) == (False, 200, 200)


def test_ten_posts_with_one_key_at_once_are_one_run(
    deployment: Deployment, api: Api, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(10)

    with ThreadPoolExecutor(10) as pool:
        responses = list(pool.map(lambda _: api.post(key="mine"), range(10)))

    assert {response.status_code for response in responses} == {202}
    assert len({response.headers["Location"] for response in responses}) == 1
    assert deployment.pg.value("SELECT count(*) FROM runs") == 1
    deployment.worker()
    eventually(lambda: nothing_is_open(deployment), 60)


def test_a_broker_that_is_paused_is_answered_in_seconds_and_its_run_stays_failed(
    deployment: Deployment, api: Api, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(10)
    assert api.post("enrich_missing_cards").status_code == 202  # which opens a connection to the broker
    container = deployment.server.container.get_wrapped_container()
    container.pause()
    try:
        response = api.post(seconds=_REFUSED_SECONDS)
    finally:
        container.unpause()

    assert response.status_code == 503, response.text
    run = response.headers["Location"]
    failed = api.get(run)
    assert (failed["status"], failed["error_class"]) == ("failed", "BrokerUnavailable")
    deployment.worker()
    eventually(lambda: nothing_is_open(deployment), 60)
    eventually(lambda: deployment.messages() == 0, 60)
    # Also when the message came through after all, or would have been published again by the reaper.
    assert api.get(run) == failed
    assert deployment.pg.value("SELECT count(*) FROM users") == 0
    assert api.post().status_code == 202
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM users") == 10, 60)


@pytest.mark.parametrize(
    ("silent", "reason"),
    [(False, "Connection refused"), (True, "timed out|Timeout")],
    ids=["refuses", "never says a word"],
)
def test_a_broker_that_is_not_there_is_answered_in_seconds(
    deployment: Deployment, source: FakeSource, closed_port: int, silent: bool, reason: str
) -> None:
    scheme = "amqp" if deployment.broker == "rabbitmq" else "redis"
    with ExitStack() as opened:
        port = closed_port
        if silent:
            port = opened.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        away = deployment.api(API_TOKEN=TOKEN, CELERY_BROKER_URL=f"{scheme}://127.0.0.1:{port}/0")
        api = Api(f"http://127.0.0.1:{away}")

        response = api.post(seconds=_REFUSED_SECONDS)

    assert response.status_code == 503
    assert re.search(reason, response.json()["detail"])
    assert [run["status"] for run in api.get("/runs")] == ["failed"]
