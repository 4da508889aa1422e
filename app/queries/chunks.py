"""Chunks of runs: sharing out, leasing, progress, and what dead workers left behind."""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cache
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Dialect,
    Float,
    Update,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from app.models import Run, RunChunk
from app.queries import clock
from app.queries.insert import insert_new
from app.queries.json_rendering import constant
from app.queries.removals import note_page, seen_page
from app.records import ChunkMessage, Claim, Counts, Failure, Job, Status, UserPage

# How long a message may be on its way before the reaper thinks it lost. Longer each time, so that a long queue is not
# flooded with copies of its own messages.
PATIENCE_SECONDS = 60
# And when the broker has not taken it.
_UNPUBLISHED_SECONDS = 5
# A message that was published with a delay may come a little early.
_EARLY_SECONDS = 2
_REAP_AT_ONCE = 100


def insert_first(connection: Connection, run_id: int) -> int:
    """The id of a run's first chunk, which plans the run and shares it out."""
    return connection.execute(insert(RunChunk).values(_queued(run_id, 0, None)).returning(RunChunk.id)).scalar_one()


def first_of(connection: Connection, run_id: int) -> int | None:
    """The id of a run's first chunk; None when the run was over as soon as it was noted."""
    first = select(RunChunk.id).where(RunChunk.run_id == run_id, RunChunk.number == 0)
    return connection.execute(first).scalar_one_or_none()


def share_out(connection: Connection, claim: Claim, works: Sequence[dict[str, Any]]) -> list[ChunkMessage]:
    """Gives the first piece of work to the claimed chunk and makes chunks for the others; their messages."""
    connection.execute(update(RunChunk).where(RunChunk.id == claim.chunk_id).values(work=works[0]))
    if len(works) == 1:
        return []
    rows = [_queued(claim.run_id, number, work) for number, work in enumerate(works) if number > 0]
    # A worker that took this chunk over may have shared the run out before.
    statement = insert_new(RunChunk, connection.dialect.name).values(rows).returning(RunChunk.id)
    return [ChunkMessage(claim.job, chunk_id) for chunk_id in sorted(connection.execute(statement).scalars())]


def claim(connection: Connection, chunk_id: int, message_id: str, lease_seconds: float) -> Claim | None:
    """Takes the lease of a chunk that is due, or abandoned, or leased for this very message, which came again.

    None when there is nothing to do: the chunk is done, not due yet, gone, or in another worker's hands.
    """
    due = and_(RunChunk.status == Status.QUEUED, RunChunk.not_before <= clock.now_plus(_EARLY_SECONDS))
    mine = or_(RunChunk.lease_until < clock.now(), RunChunk.message_id == message_id)
    row = connection.execute(
        update(RunChunk)
        .where(RunChunk.id == chunk_id, or_(due, and_(RunChunk.status == Status.RUNNING, mine)))
        .values(
            status=Status.RUNNING,
            attempt=RunChunk.attempt + 1,
            lease_token=secrets.token_hex(16),
            lease_until=clock.now_plus(lease_seconds),
            message_id=message_id,
            started_at=func.coalesce(RunChunk.started_at, clock.now()),
        )
        .returning(RunChunk.run_id, RunChunk.work, RunChunk.position, RunChunk.attempt, RunChunk.lease_token)
    ).one_or_none()
    if row is None:
        return None
    run = connection.execute(select(Run.task, Run.batch_size).where(Run.id == row.run_id)).one()
    return Claim(
        chunk_id, row.run_id, Job(run.task), run.batch_size, row.work, row.position, row.attempt, row.lease_token
    )


def advance(
    connection: Connection,
    claim: Claim,
    position: int,
    counts: Counts,
    *,
    lease_seconds: float,
    progress: bool,
    page: UserPage | None = None,
) -> bool:
    """Notes what was done, in the transaction that wrote its rows, and renews the lease; False when it is lost.

    progress: whether the attempts count anew. page: the page of users that was written, whose ids are noted too.
    """
    done = {
        "id_": claim.chunk_id,
        "token": claim.lease_token,
        "position_": position,
        "lease_seconds": lease_seconds,
        "progress": progress,
        **{f"{name}_": number for name, number in asdict(counts).items()},
    }
    seen = {} if page is None else seen_page(page, claim.chunk_id, position, counts)
    if connection.dialect.name == "postgresql":
        sql = _advance_sql(connection.dialect, noting=bool(seen))
        return connection.exec_driver_sql(sql, done | seen).rowcount == 1
    if seen:
        connection.execute(note_page(connection.dialect.name), seen)
    return connection.execute(_advance(), done).rowcount == 1


@cache
def _advance() -> Update:
    chunk = RunChunk.__table__.c
    return (
        update(RunChunk.__table__)
        .where(_held(bindparam("id_"), bindparam("token")))
        .values(
            position=bindparam("position_"),
            attempt=case((bindparam("progress", type_=Boolean), literal_column("0")), else_=chunk.attempt),
            lease_until=clock.now_plus(bindparam("lease_seconds", type_=Float)),
            **{field.name: chunk[field.name] + bindparam(f"{field.name}_") for field in fields(Counts)},
        )
    )


@cache
def _advance_sql(dialect: Dialect, *, noting: bool) -> str:
    """Both as one statement, rendered once: this comes with each page, and building it costs more than executing it."""
    statement = _advance().add_cte(note_page(dialect.name).cte("page")) if noting else _advance()
    return str(statement.compile(dialect=dialect)).replace("%(external_ids)s", "%(external_ids)b")


def release(connection: Connection, claim: Claim, delay_seconds: float, failure: Failure | None) -> bool:
    """Puts the chunk back for a later try; False when the lease is lost."""
    return _update_held(
        connection,
        claim,
        status=Status.QUEUED,
        lease_token=None,
        lease_until=None,
        not_before=clock.now_plus(delay_seconds),
        expected_by=clock.now_plus(delay_seconds + PATIENCE_SECONDS),
        **_reason(failure),
    )


def end(connection: Connection, claim: Claim, status: Status, failure: Failure | None) -> bool:
    """Ends the chunk; False when the lease is lost."""
    return _update_held(
        connection,
        claim,
        status=status,
        lease_token=None,
        lease_until=None,
        finished_at=clock.now(),
        **_reason(failure),
    )


def give_up(connection: Connection, chunk_id: int, failure: Failure) -> bool:
    """Fails a chunk that no worker has received; False when one has."""
    waiting = and_(RunChunk.id == chunk_id, RunChunk.status == Status.QUEUED)
    values = {"status": Status.FAILED, "finished_at": clock.now(), **_reason(failure)}
    return connection.execute(update(RunChunk).where(waiting).values(values)).rowcount == 1


def expect_soon(connection: Connection, chunk_ids: Sequence[int]) -> None:
    """Has the reaper publish queued chunks again in a few seconds, which the broker has not taken now.

    A publication that failed is none: patience does not grow with it, or a chunk would wait the longer for a broker
    that is back, the longer that was away.
    """
    counted = case((RunChunk.publications > 0, RunChunk.publications - 1), else_=0)
    connection.execute(
        update(RunChunk)
        .where(RunChunk.id.in_(chunk_ids), RunChunk.status == Status.QUEUED)
        .values(publications=counted, expected_by=clock.now_plus(_UNPUBLISHED_SECONDS))
    )


def reap(connection: Connection) -> list[ChunkMessage]:
    """Chunks whose lease ran out, and queued ones that no worker received: to be published again by the caller.

    Each is found by one reaper only, however many there are.
    """
    return [
        *_requeue(
            connection,
            and_(RunChunk.status == Status.RUNNING, RunChunk.lease_until < clock.now()),
            status=Status.QUEUED,
            lease_token=None,
            lease_until=None,
            not_before=clock.now(),
            expected_by=clock.now_plus(PATIENCE_SECONDS),
        ),
        *_requeue(
            connection,
            and_(RunChunk.status == Status.QUEUED, RunChunk.expected_by < clock.now()),
            expected_by=clock.now_plus(PATIENCE_SECONDS * (RunChunk.publications + 2)),
            publications=RunChunk.publications + 1,
        ),
    ]


def _requeue(connection: Connection, lost: ColumnElement[bool], **values: Any) -> list[ChunkMessage]:
    some = select(RunChunk.id).where(lost).order_by(RunChunk.id).limit(_REAP_AT_ONCE).with_for_update(skip_locked=True)
    requeued = connection.execute(
        update(RunChunk).where(RunChunk.id.in_(some), lost).values(values).returning(RunChunk.id, RunChunk.run_id)
    ).all()
    if not requeued:
        return []
    wanted = select(Run.id, Run.task, Run.trace_id).where(Run.id.in_({row.run_id for row in requeued}))
    runs = {row.id: row for row in connection.execute(wanted)}
    return [ChunkMessage(Job(runs[row.run_id].task), row.id, runs[row.run_id].trace_id) for row in sorted(requeued)]


def _update_held(connection: Connection, claim: Claim, **values: Any) -> bool:
    held = _held(claim.chunk_id, claim.lease_token)
    return connection.execute(update(RunChunk).where(held).values(values)).rowcount == 1


def _held(chunk_id: Any, lease_token: Any) -> ColumnElement[bool]:
    is_running = RunChunk.status == constant(Status.RUNNING)
    return and_(RunChunk.id == chunk_id, is_running, RunChunk.lease_token == lease_token)


def _queued(run_id: int, number: int, work: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "number": number,
        "work": work,
        "status": Status.QUEUED,
        "created_at": clock.now(),
        "not_before": clock.now(),
        "expected_by": clock.now_plus(PATIENCE_SECONDS),
    }


def _reason(failure: Failure | None) -> dict[str, str | None]:
    if failure is None:
        return {"error_class": None, "error_message": None}
    return {"error_class": failure.error_class, "error_message": failure.message}
