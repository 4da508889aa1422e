"""Which runs beat starts, and when."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.errors import BrokerUnavailable
from app.records import ChunkMessage, Job
from app.services import runs
from app.services.ticks import Ticks
from tests.conftest import LocalWorker

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def started(worker: LocalWorker, job: Job = Job.SYNC_USERS) -> list[str]:
    rows = worker.rows(f"SELECT scheduled_for FROM runs WHERE task = '{job}' AND status <> 'skipped' ORDER BY id")
    return [str(row["scheduled_for"])[11:16] for row in rows]


def end_all(worker: LocalWorker, status: str = "succeeded") -> None:
    worker.execute(f"UPDATE runs SET status = '{status}', finished_at = created_at WHERE status <> 'skipped'")


def test_a_job_that_never_succeeded_is_due_when_beat_starts(worker: LocalWorker) -> None:
    Ticks(worker.context).start_due(NOON + timedelta(minutes=7, seconds=12))

    assert {job: started(worker, job) for job in Job} == {job: ["12:07"] for job in Job}
    assert len(worker.queue) == 3


def test_between_ticks_nothing_is_started(worker: LocalWorker) -> None:
    ticks = Ticks(worker.context)
    for minute in range(15):
        ticks.start_due(NOON + timedelta(minutes=minute))
        end_all(worker, "failed")

    assert started(worker) == ["12:00"]


def test_each_tick_is_started_once(worker: LocalWorker) -> None:
    ticks = Ticks(worker.context)
    for second in range(0, 31 * 60, 20):
        ticks.start_due(NOON + timedelta(seconds=second))
        end_all(worker)

    assert started(worker) == ["12:00", "12:15", "12:30"]


@pytest.mark.parametrize("hours", [1, 24 * 365])
def test_a_clock_that_is_set_back_doubles_no_tick_and_stops_none(worker: LocalWorker, hours: int) -> None:
    ticks = Ticks(worker.context)
    for minute in range(0, 31, 5):
        ticks.start_due(NOON + timedelta(minutes=minute))
        end_all(worker)
    for minute in range(0, 61, 5):
        ticks.start_due(NOON - timedelta(hours=hours) + timedelta(minutes=minute))
        end_all(worker)

    # The tick at which the clock was set is the one that is lost, if nobody has had it before.
    assert started(worker)[:3] == ["12:00", "12:15", "12:30"]
    again = ["11:15", "11:30", "11:45"] if hours == 1 else ["12:15", "12:30", "12:45", "13:00"]
    assert started(worker)[3:] == again


def test_a_clock_that_trembles_starts_nothing(worker: LocalWorker) -> None:
    ticks = Ticks(worker.context)
    for seconds in (0, 1, -1, 2, -2, 30):
        ticks.start_due(NOON + timedelta(minutes=15, seconds=seconds))
        end_all(worker)

    assert started(worker) == ["12:15"]


def test_two_beats_make_one_run_a_tick(worker: LocalWorker) -> None:
    beats = [Ticks(worker.context), Ticks(worker.context)]
    for minute in range(31):
        for ticks in beats:
            ticks.start_due(NOON + timedelta(minutes=minute))
        end_all(worker)

    assert started(worker) == ["12:00", "12:15", "12:30"]
    assert worker.rows("SELECT count(*) AS n FROM runs WHERE status = 'skipped'") == [{"n": 0}]


def test_ticks_missed_while_beat_was_away_are_made_up_for_once(worker: LocalWorker) -> None:
    Ticks(worker.context).start_due(NOON)
    end_all(worker)

    returned = Ticks(worker.context)
    returned.start_due(NOON + timedelta(hours=3, minutes=7))
    end_all(worker)
    returned.start_due(NOON + timedelta(hours=3, minutes=8))

    assert started(worker) == ["12:00", "15:00"]


def test_a_restart_of_beat_between_ticks_starts_nothing(worker: LocalWorker) -> None:
    Ticks(worker.context).start_due(NOON)
    end_all(worker)

    Ticks(worker.context).start_due(NOON + timedelta(minutes=3))

    assert started(worker) == ["12:00"]


def test_a_tick_whose_run_is_old_is_not_made_up_for_when_beat_starts_again(
    make_worker: Callable[..., LocalWorker],
) -> None:
    worker = make_worker(USERS_SCHEDULE_CRON="0 3 1 * *")
    Ticks(worker.context).start_due(NOON)
    end_all(worker)
    runs.receive(worker.context, Job.SYNC_USERS, "by hand", None)
    end_all(worker)
    worker.execute("UPDATE runs SET finished_at = '2000-01-01 00:00:00.000000'")

    runs.prune(worker.context)
    Ticks(worker.context).start_due(NOON + timedelta(hours=1))

    assert worker.rows("SELECT trigger FROM runs WHERE task = 'sync_users' ORDER BY id") == [
        {"trigger": "beat"},
        {"trigger": "cli"},
    ]


def test_a_tick_while_a_run_is_open_is_skipped_and_names_it(worker: LocalWorker) -> None:
    ticks = Ticks(worker.context)
    ticks.start_due(NOON)
    worker.queue.clear()

    ticks.start_due(NOON + timedelta(minutes=15))

    (skipped,) = worker.rows("SELECT * FROM runs WHERE task = 'sync_users' AND status = 'skipped'")
    assert (skipped["blocked_by"], skipped["error_message"]) == (1, "run 1 of sync_users is open")
    assert not worker.queue


def test_a_tick_that_cannot_be_noted_is_tried_again(worker: LocalWorker) -> None:
    ticks = Ticks(worker.context)
    worker.execute("ALTER TABLE runs RENAME TO away")
    with pytest.raises(Exception, match=r"no such table|does not exist"):
        ticks.start_due(NOON)
    worker.execute("ALTER TABLE away RENAME TO runs")

    ticks.start_due(NOON + timedelta(seconds=5))

    assert started(worker) == ["12:00"]


def test_a_run_started_by_hand_is_no_tick(worker: LocalWorker) -> None:
    runs.receive(worker.context, Job.SYNC_USERS, "by hand", None)
    end_all(worker)

    Ticks(worker.context).start_due(NOON + timedelta(minutes=1))

    assert started(worker)[1:] == ["12:00"]


def test_each_job_keeps_its_own_schedule(make_worker: Callable[..., LocalWorker]) -> None:
    worker = make_worker(USERS_SCHEDULE_CRON="0 * * * *", ENRICH_ADDR_CRON="*/20 * * * *", ENRICH_CC_CRON="5 13 * * *")
    ticks = Ticks(worker.context)
    for minute in range(0, 70, 5):
        ticks.start_due(NOON + timedelta(minutes=minute))
        end_all(worker)

    assert started(worker) == ["12:00", "13:00"]
    assert started(worker, Job.ENRICH_MISSING_ADDRESSES) == ["12:00", "12:20", "12:40", "13:00"]
    assert started(worker, Job.ENRICH_MISSING_CARDS) == ["12:00", "13:05"]


def test_a_job_that_only_failed_is_due_when_beat_starts_again(worker: LocalWorker) -> None:
    Ticks(worker.context).start_due(NOON)
    end_all(worker, "failed")

    Ticks(worker.context).start_due(NOON + timedelta(minutes=3))

    assert started(worker) == ["12:00", "12:03"]


def test_a_tick_is_noted_while_the_broker_is_away(worker: LocalWorker) -> None:
    def refuse(_: ChunkMessage) -> None:
        raise BrokerUnavailable("the broker is away")

    Ticks(replace(worker.context, publish=refuse)).start_due(NOON)

    assert worker.rows("SELECT task, trigger, status FROM runs ORDER BY id") == [
        {"task": job, "trigger": "beat", "status": "queued"} for job in Job
    ]


def test_a_tick_of_an_enrichment_asks_for_the_usual_batch(make_worker: Callable[..., LocalWorker]) -> None:
    worker = make_worker(ENRICH_BATCH_SIZE=7)

    Ticks(worker.context).start_due(NOON)

    assert worker.rows("SELECT task, batch_size FROM runs ORDER BY id") == [
        {"task": Job.SYNC_USERS, "batch_size": None},
        {"task": Job.ENRICH_MISSING_ADDRESSES, "batch_size": 7},
        {"task": Job.ENRICH_MISSING_CARDS, "batch_size": 7},
    ]
