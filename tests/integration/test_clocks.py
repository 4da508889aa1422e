"""Machines whose clocks are an hour off: leases and ticks go by the database, and countdowns by spans of time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import faketime_library
from tests.deployment import Deployment, eventually
from tests.fake_source import Answer, DummyJsonLike, FakeSource, Query

pytestmark = pytest.mark.faketime

Sample = Callable[[int], DummyJsonLike]
Clock = Callable[[int], dict[str, str]]
SYNC = "app.tasks.users.sync_users"


# faketime's own form of the sleep that Python asks for fails while the clock of spans is let alone.
_SLEEP = "import threading, time\ntime.sleep = lambda seconds: threading.Event().wait(seconds) and None\n"


@pytest.fixture
def clock(tmp_path: Path) -> Callable[[int], dict[str, str]]:
    """The environment of a process whose clock is so many hours ahead; it measures spans of time as all do."""
    library = faketime_library()
    assert library
    (tmp_path / "sitecustomize.py").write_text(_SLEEP)
    fixed = {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "PYTHONPATH": str(tmp_path)}
    return lambda hours: {**fixed, "FAKETIME": f"{hours:+d}h"}


def is_done(deployment: Deployment, users: int) -> bool:
    """Everybody is there, and nothing is open."""
    filled = deployment.pg.value("SELECT count(*) FROM users WHERE has_address AND has_card")
    opened = deployment.pg.value("SELECT count(*) FROM runs WHERE status IN ('queued', 'running')")
    chunks = deployment.pg.value("SELECT count(*) FROM run_chunks WHERE status IN ('queued', 'running')")
    return (filled, opened, chunks) == (users, 0, 0)


@pytest.mark.parametrize(
    ("deployment", "hours"), [("rabbitmq", 1), ("rabbitmq", -1), ("redis", 1)], indirect=["deployment"]
)
def test_a_worker_and_a_beat_whose_clocks_are_an_hour_off_double_nothing_and_leave_nothing_open(
    deployment: Deployment, source: FakeSource, sample: Sample, clock: Clock, hours: int
) -> None:
    users = sample(60)

    def slowly(path: str, query: Query) -> Answer:
        answer = users(path, query)
        answer.wait_seconds = 0.3
        return answer

    source.respond = slowly
    shares = {"USERS_PAGE_SIZE": "10", "CHUNK_ROWS": "10"}
    workers = [deployment.worker(concurrency=1, **shares), deployment.worker(concurrency=1, **shares, **clock(hours))]
    beats = [deployment.start("beat"), deployment.start("beat", **clock(hours))]

    eventually(lambda: is_done(deployment, 60), 90)

    assert [beat.stop() for beat in beats] == [0, 0]
    assert [worker.stop() for worker in workers] == [0, 0]
    doubled = "SELECT task, scheduled_for FROM runs WHERE trigger = 'beat' GROUP BY 1, 2 HAVING count(*) > 1"
    assert deployment.pg.rows(doubled) == []
    assert deployment.pg.value("SELECT sum(inserted) FROM runs WHERE task = 'sync_users'") == 60
    assert deployment.pg.value("SELECT count(*) FROM runs WHERE status = 'failed'") == 0
    # All have taken part, and none has taken anything from another.
    assert deployment.pg.value("SELECT count(DISTINCT scheduled_for) FROM runs WHERE trigger = 'beat'") > 1
    logs = [worker.log() for worker in workers]
    assert all("succeeded in" in log for log in logs)
    assert not any("published again" in log for log in logs)
    if deployment.broker == "rabbitmq":
        assert not any("taken over" in log for log in logs)


@pytest.mark.parametrize(("deployment", "hours"), [("rabbitmq", -1), ("redis", 1)], indirect=["deployment"])
def test_a_countdown_of_a_worker_whose_clock_is_an_hour_off_is_no_longer_than_it_should(
    deployment: Deployment, source: FakeSource, sample: Sample, clock: Clock, hours: int
) -> None:
    source.answer(b"busy", status=429, headers={"Retry-After": "2"})
    deployment.worker(concurrency=1, **clock(hours))
    deployment.call(SYNC)
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM run_chunks WHERE error_class = 'ProviderUnavailable'"))

    source.respond = sample(10)

    eventually(lambda: is_done(deployment, 10))
