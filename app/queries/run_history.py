"""Looking back at runs: lists, one run with its progress, its chunks. Rows are (id, JSON)."""

from dataclasses import dataclass, fields
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    FromClause,
    Integer,
    Numeric,
    ScalarSelect,
    Select,
    String,
    Subquery,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute

from app.models import Run, RunChunk
from app.queries import clock
from app.queries.json_rendering import Column, as_text, constant, json_bool, json_object, json_time
from app.queries.query import Query
from app.records import OPEN, Counts, Job, Status

_TALLY = tuple(field.name for field in fields(Counts))
_LARGEST_ID = 2**63 - 1
# Written out in the statements, of which there is one for each form of a question.
_ZERO: ColumnElement[int] = literal_column("0", Integer)
_ONE: ColumnElement[int] = literal_column("1", Integer)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are wanted; None means any."""

    task: Job | None = None
    status: Status | None = None


def list_runs(wanted: RunFilter, *, limit: int, before: int | None = None) -> Query:
    """Runs, the newest first; only those with an id below ``before``, when that is given."""
    parameters: dict[str, Any] = {"before": _LARGEST_ID if before is None else before}
    parameters |= {name: value.value for name, value in (("task", wanted.task), ("status", wanted.status)) if value}
    return Query(_page(frozenset(parameters), limit), parameters)


def get_run(run_id: int) -> Query:
    """One run."""
    return Query(_one(), {"run_id": run_id})


def list_chunks(run_id: int, limit: int = 200) -> Query:
    """The first chunks of a run in the order of their numbers."""
    return Query(_chunks(limit), {"run_id": run_id})


def progress(runs: FromClause) -> Subquery:
    """What the chunks of these runs (a selection with their ids) have come to: one row a run.

    rows_total is None while nobody knows it. overdue: chunks that no living worker holds and none has received in
    time. held: chunks in the hands of a worker that was heard of lately.
    """
    ended = ~is_open(RunChunk.status)
    late = or_(
        and_(RunChunk.status == Status.RUNNING, RunChunk.lease_until < clock.now()),
        and_(RunChunk.status == Status.QUEUED, RunChunk.expected_by < clock.now()),
    )
    held = and_(RunChunk.status == Status.RUNNING, RunChunk.lease_until >= clock.now())
    # A sync knows the source's total in each chunk, an enrichment the users of each.
    told = func.max(cast(RunChunk.work["total"].as_string(), Numeric))
    total = func.coalesce(told, func.sum(func.json_array_length(RunChunk.work["user_ids"])))
    tally = sum((getattr(RunChunk, name) for name in _TALLY[1:]), start=getattr(RunChunk, _TALLY[0]))
    return (
        select(
            RunChunk.run_id,
            func.count().label("chunks"),
            _count(ended).label("chunks_done"),
            _count(late).label("overdue"),
            _count(held).label("held"),
            func.sum(tally).label("rows_done"),
            func.nullif(total, _ZERO).label("rows_total"),
            *(func.sum(getattr(RunChunk, name)).label(name) for name in _TALLY),
        )
        .where(RunChunk.run_id.in_(select(runs.c.id)))
        .group_by(RunChunk.run_id)
        .subquery("progress")
    )


def is_stale(status: Column, done: FromClause) -> ColumnElement[bool]:
    """Whether the run is open and waits for a worker to take it over: what is due was not received, or its worker died.

    A run that waits for a retry, or whose message is on its way, is not.
    """
    overdue = or_(done.c.chunks.is_(None), done.c.overdue > _ZERO, done.c.chunks == done.c.chunks_done)
    return and_(is_open(status), func.coalesce(done.c.held, _ZERO) == _ZERO, overdue)


def is_open(status: Column) -> ColumnElement[bool]:
    """Whether a run or chunk is not over, written out in the statement."""
    return status.in_([constant(open_status.value) for open_status in OPEN])


@lru_cache(maxsize=512)
def _page(parameters: frozenset[str], limit: int) -> Executable:
    runs = select(Run).where(Run.id < bindparam("before", type_=BigInteger))
    for name, column in (("task", Run.task), ("status", Run.status)):
        if name in parameters:
            runs = runs.where(column == bindparam(name, type_=String))
    return _rendered(runs.order_by(Run.id.desc()).limit(literal_column(str(limit))))


@cache
def _one() -> Executable:
    return _rendered(select(Run).where(Run.id == bindparam("run_id", type_=BigInteger)))


def _rendered(chosen: Select[Any]) -> Executable:
    run = chosen.subquery("run")
    done = progress(run)
    # While a run is open its counts are those of its chunks so far, and its error what one of them waits for.
    opened = is_open(run.c.status)
    body = json_object(
        {
            **{name: run.c[name] for name in ("id", "task", "trigger", "status")},
            "stale": json_bool(is_stale(run.c.status, done)),
            "scheduled_for": json_time(run.c.scheduled_for),
            **{name: run.c[name] for name in ("batch_size", "blocked_by", "trace_id")},
            **{name: json_time(run.c[name]) for name in ("created_at", "started_at", "finished_at")},
            **{name: case((opened, func.coalesce(done.c[name], _ZERO)), else_=run.c[name]) for name in _TALLY},
            "removed": run.c.removed,
            **{name: func.coalesce(done.c[name], _ZERO) for name in ("chunks", "chunks_done", "rows_done")},
            "rows_total": done.c.rows_total,
            "error_class": case((opened, _first_error(run, RunChunk.error_class)), else_=run.c.error_class),
            "error_message": case((opened, _first_error(run, RunChunk.error_message)), else_=run.c.error_message),
            "note": run.c.note,
        }
    )
    return select(run.c.id, as_text(body)).outerjoin(done, done.c.run_id == run.c.id).order_by(run.c.id.desc())


def _first_error(run: FromClause, column: InstrumentedAttribute[str | None]) -> ScalarSelect[str | None]:
    failed = (RunChunk.run_id == run.c.id, is_open(RunChunk.status), RunChunk.error_class.is_not(None))
    return select(column).where(*failed).order_by(RunChunk.number).limit(_ONE).scalar_subquery()


@cache
def _chunks(limit: int) -> Executable:
    body = json_object(
        {
            **{name: getattr(RunChunk, name) for name in ("number", "status", "attempt", "position")},
            **{name: getattr(RunChunk, name) for name in _TALLY},
            **{name: getattr(RunChunk, name) for name in ("error_class", "error_message")},
            **{
                name: json_time(getattr(RunChunk, name))
                for name in ("not_before", "lease_until", "started_at", "finished_at")
            },
        }
    )
    return (
        select(RunChunk.id, as_text(body))
        .where(RunChunk.run_id == bindparam("run_id", type_=BigInteger))
        .order_by(RunChunk.number)
        .limit(literal_column(str(limit)))
    )


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, _ONE)))
