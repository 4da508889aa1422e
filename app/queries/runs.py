"""Runs: opening, ending, looking back."""

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, func, select, update
from sqlalchemy.orm import aliased

from app.models import Run, RunChunk
from app.queries import clock
from app.queries.insert import insert_new
from app.records import OPEN, Counts, Failure, FinishedRun, Job, Status, Trigger

_TALLY = tuple(field.name for field in fields(Counts))


def insert_queued(connection: Connection, job: Job, trigger: Trigger, **values: Any) -> int | None:
    """The id of a new run, or None when its tick or message has a run already or another run of the job is open."""
    row = {"task": job, "trigger": trigger, "status": Status.QUEUED, "created_at": clock.now()}
    return _insert(connection, row | values)


def insert_ended(
    connection: Connection, job: Job, trigger: Trigger, status: Status, failure: Failure, **values: Any
) -> int | None:
    """The id of a run that is over as soon as it is noted; None when its tick or message has a run already."""
    row = {"task": job, "trigger": trigger, "status": status, "created_at": clock.now(), "finished_at": clock.now()}
    reason = {"error_class": failure.error_class, "error_message": failure.message}
    return _insert(connection, row | reason | values)


def find_tick(connection: Connection, job: Job, scheduled_for: datetime) -> int | None:
    """The run of a beat's tick."""
    statement = select(Run.id).where(Run.task == job, Run.scheduled_for == scheduled_for)
    return connection.execute(statement).scalar_one_or_none()


def find_message(connection: Connection, message_id: str) -> int | None:
    """The run that a message from a shell started."""
    return connection.execute(select(Run.id).where(Run.message_id == message_id)).scalar_one_or_none()


def find_key(connection: Connection, key: str) -> tuple[int, str | None] | None:
    """The run that a request with this idempotency key started, and what it asked for."""
    statement = select(Run.id, Run.idempotency_fingerprint).where(Run.idempotency_key == key)
    return connection.execute(statement).tuples().one_or_none()


def forget_key(connection: Connection, run_id: int) -> None:
    """Lets the run's idempotency key be used again."""
    connection.execute(update(Run).where(Run.id == run_id).values(idempotency_key=None))


def find_open(connection: Connection, job: Job) -> int | None:
    """The open run of a job, locked, so that it cannot end before the caller has noted what it blocks."""
    opened = select(Run.id).where(Run.task == job, Run.status.in_(OPEN)).with_for_update()
    return connection.execute(opened).scalar_one_or_none()


def last_tick(connection: Connection, job: Job) -> datetime | None:
    """The latest tick that beat started a run for."""
    return connection.execute(select(func.max(Run.scheduled_for)).where(Run.task == job)).scalar_one()


def has_succeeded(connection: Connection, job: Job) -> bool:
    """Whether any run of the job ever succeeded."""
    return bool(
        connection.execute(select(exists().where(Run.task == job, Run.status == Status.SUCCEEDED))).scalar_one()
    )


def start(connection: Connection, run_id: int, trace_id: str | None) -> None:
    """Notes that a worker has begun with the run, in this trace unless it was opened in one."""
    connection.execute(
        update(Run)
        .where(Run.id == run_id, Run.status == Status.QUEUED)
        .values(status=Status.RUNNING, started_at=clock.now(), trace_id=func.coalesce(Run.trace_id, trace_id))
    )


def lock(connection: Connection, run_id: int) -> None:
    """Makes workers that end chunks of the run wait for each other, so that the last of them sees that it is."""
    connection.execute(select(Run.id).where(Run.id == run_id).with_for_update())


def end_if_done(connection: Connection, run_id: int) -> FinishedRun | None:
    """Ends the run when none of its chunks is open, with their counts and the first failure; None while one is.

    The caller has locked the run.
    """
    mine = RunChunk.run_id == run_id
    if connection.execute(select(exists().where(mine, RunChunk.status.in_(OPEN)))).scalar_one():
        return None
    sums = connection.execute(
        select(*(func.coalesce(func.sum(getattr(RunChunk, name)), 0) for name in _TALLY)).where(mine)
    ).one()
    failed = connection.execute(
        select(RunChunk.error_class, RunChunk.error_message)
        .where(mine, RunChunk.status == Status.FAILED)
        .order_by(RunChunk.finished_at, RunChunk.id)
        .limit(1)
    ).one_or_none()
    failure = Failure(*failed) if failed else None
    status = Status.FAILED if failed else Status.SUCCEEDED
    counts = Counts(*(int(number) for number in sums))
    ended = connection.execute(
        update(Run)
        .where(Run.id == run_id, Run.status.in_(OPEN))
        .values(
            status=status,
            finished_at=clock.now(),
            error_class=failure.error_class if failure else None,
            error_message=failure.message if failure else None,
            **asdict(counts),
        )
        .returning(Run.task, Run.trigger, Run.batch_size)
    ).one_or_none()
    if ended is None:
        return None
    return FinishedRun(run_id, Job(ended.task), Trigger(ended.trigger), ended.batch_size, counts, failure)


def note_removals(connection: Connection, run_id: int, removed: int, note: str | None) -> None:
    """Notes how many users a sync has marked as removed, or why it has marked none."""
    connection.execute(update(Run).where(Run.id == run_id).values(removed=removed, note=note))


def open_without_open_chunks(connection: Connection) -> list[int]:
    """Runs that a worker left open when it died between its last chunk and the run's end."""
    chunk = exists().where(RunChunk.run_id == Run.id, RunChunk.status.in_(OPEN))
    return list(connection.execute(select(Run.id).where(Run.status.in_(OPEN), ~chunk)).scalars())


def waiting_followup(connection: Connection, run_id: int) -> int | None:
    """The largest batch that follow-ups asked for while this run stood in their way; None when there were none."""
    blocked = (Run.blocked_by == run_id, Run.trigger == Trigger.FOLLOWUP, Run.status == Status.SKIPPED)
    return connection.execute(select(func.max(Run.batch_size)).where(*blocked)).scalar_one()


def prune(connection: Connection, keep_days: int) -> int:
    """Deletes runs that ended longer ago, except the last success and tick of each job; how many those were.

    Without these, beat would think that a job never succeeded, or that its last tick was missed.
    """
    newest = select(func.max(Run.id)).where(Run.status == Status.SUCCEEDED).group_by(Run.task)
    later = aliased(Run)
    is_last_tick = and_(
        Run.scheduled_for.is_not(None),
        ~exists().where(later.task == Run.task, later.scheduled_for > Run.scheduled_for),
    )
    old = Run.finished_at < clock.now_plus(-keep_days * 86_400)
    return connection.execute(delete(Run).where(old, Run.id.not_in(newest), ~is_last_tick)).rowcount


def _insert(connection: Connection, row: dict[str, Any]) -> int | None:
    statement = insert_new(Run, connection.dialect.name).values(row).returning(Run.id)
    return connection.execute(statement).scalar_one_or_none()
