"""Machines whose clocks are an hour off, or jump: leases go by the database, and countdowns by spans of time."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import faketime_library
from tests.deployment import Deployment, Role, eventually
from tests.fake_source import DummyJsonLike, FakeSource
from tests.integration.test_brokers import slowed

pytestmark = pytest.mark.faketime

Sample = Callable[[int], DummyJsonLike]
Clock = Callable[[int], dict[str, str]]
SYNC = "app.tasks.users.sync_users"


# faketime's own form of the sleep that Python asks for fails while the clock of spans is let alone.
_SLEEP = "import threading, time\ntime.sleep = lambda seconds: threading.Event().wait(seconds) and None\n"


@pytest.fixture
def faked(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose clock may be wrong; it measures spans of time as all do."""
    library = faketime_library()
    assert library
    (tmp_path / "sitecustomize.py").write_text(_SLEEP)
    return {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "PYTHONPATH": str(tmp_path)}


@pytest.fixture
def clock(faked: dict[str, str]) -> Clock:
    """The environment of a process whose clock is so many hours ahead."""
    return lambda hours: {**faked, "FAKETIME": f"{hours:+d}h"}


class MovedClock:
    """A clock that moves under the processes that are started with its variables."""

    def __init__(self, file: Path, faked: dict[str, str]) -> None:
        self._file = file
        # Looked into once a second, and not with each look at the clock, which would cost a busy machine much.
        self.variables = {**faked, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_CACHE_DURATION": "1"}
        self.move(0)

    def move(self, hours: int) -> None:
        """To so many hours ahead of everybody else's."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{hours:+d}h\n")
        new.replace(self._file)


@pytest.fixture
def moved_clock(tmp_path: Path, faked: dict[str, str]) -> MovedClock:
    return MovedClock(tmp_path / "clock", faked)


def hours_ahead(role: Role) -> int:
    """By how much the clock was ahead that the last line of its log was written by."""
    told = datetime.fromisoformat(json.loads(role.log().splitlines()[-1])["time"])
    written = datetime.fromtimestamp(role.log_file.stat().st_mtime, UTC)
    return round((told - written).total_seconds() / 3600)


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
    source.respond = slowed(sample(60), 0.3)
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


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("deployment", "hours"), [("rabbitmq", -1), ("redis", 1)], indirect=["deployment"])
def test_a_worker_and_a_beat_whose_clocks_jump_by_an_hour_and_back_double_nothing_and_leave_nothing_open(
    deployment: Deployment, source: FakeSource, sample: Sample, moved_clock: MovedClock, hours: int
) -> None:
    source.respond = slowed(sample(300), 0.5)
    shares = {"USERS_PAGE_SIZE": "10", "CHUNK_ROWS": "50", "ENRICH_BATCH_SIZE": "300"}
    every_minute = dict.fromkeys(("USERS_SCHEDULE_CRON", "ENRICH_ADDR_CRON", "ENRICH_CC_CRON"), "* * * * *")
    workers = [deployment.worker(concurrency=1, **shares, **each) for each in ({}, moved_clock.variables)]
    # It looks at its clock every second.
    beat = deployment.start("beat", "--max-interval", "1", **shares, **every_minute, **moved_clock.variables)
    working = "SELECT count(*) FROM run_chunks WHERE status = 'running'"
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM users") >= 20 and deployment.pg.value(working) == 2)
    assert [hours_ahead(worker) for worker in workers] == [0, 0]

    moved_clock.move(hours)

    eventually(lambda: [hours_ahead(worker) for worker in workers] == [0, hours])
    far = "SELECT count(*) FROM runs WHERE abs(extract(epoch FROM scheduled_for - now())) > 1800"
    eventually(lambda: deployment.pg.value(far) > 0, 90)

    moved_clock.move(0)

    # Beat goes on with the ticks of the time that it is, and does not wait for the one that it has seen.
    back = deployment.pg.value("SELECT now()")
    near = "SELECT count(*) FROM runs WHERE scheduled_for BETWEEN %s AND now()"
    eventually(lambda: deployment.pg.value(near, back) > 0, 90)
    eventually(lambda: hours_ahead(workers[1]) == 0, 90)
    eventually(lambda: is_done(deployment, 300), 120)
    assert beat.stop() == 0
    # A tick may have come meanwhile.
    eventually(lambda: is_done(deployment, 300), 60)
    assert [worker.stop() for worker in workers] == [0, 0]
    doubled = "SELECT task, scheduled_for FROM runs WHERE trigger = 'beat' GROUP BY 1, 2 HAVING count(*) > 1"
    assert deployment.pg.rows(doubled) == []
    assert deployment.pg.value("SELECT count(*) FROM runs WHERE status = 'failed'") == 0
    written = deployment.pg.rows("SELECT task, sum(inserted) AS n, sum(updated) AS m FROM runs GROUP BY 1 ORDER BY 1")
    assert {(row["n"], row["m"]) for row in written} == {(300, 0)}
    # No lease has run out before its time, so nobody has done another's work once more.
    logs = [worker.log() for worker in workers]
    assert not any("published again" in log for log in logs)
    if deployment.broker == "rabbitmq":
        assert not any("taken over" in log for log in logs)
