"""How the jobs stand: what succeeded and failed last, what is open, what is still lacking."""

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    FromClause,
    Integer,
    case,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.models import Run, User
from app.queries import clock
from app.queries.enrichment import ADDRESSES, CARDS, count_up_to, oldest_never_asked
from app.queries.freshness import last_run
from app.queries.json_rendering import as_text, constant, json_bool, json_object, json_time
from app.queries.query import Query
from app.queries.run_history import is_open, is_stale, progress
from app.records import Job, Status

_LACKING = {Job.ENRICH_MISSING_ADDRESSES: ADDRESSES, Job.ENRICH_MISSING_CARDS: CARDS}


def overview(most: int) -> Query:
    """(number, JSON), a row for each job in their order.

    last_success_… and last_failure_… are of the runs that ended so last, open_… of the run that is open now; all are
    null when there is none. lacking: how many users lack what the job fills in, counted no further than ``most``, and
    null for the sync; lacking_since: when the first of them was first seen whom the source was never asked about.
    """
    return Query(_overview(most), {})


def totals(most: int) -> Query:
    """(number, JSON), one row: users (from 100,000 on PostgreSQL's estimate, is_estimate says so), removed (counted no
    further than ``most``), now (the database's clock).
    """
    return Query(_totals(most), {})


@cache
def _overview(most: int) -> Executable:
    job = union_all(
        *(
            select(literal_column(str(number), Integer).label("number"), constant(name).label("task"))
            for number, name in enumerate(Job)
        )
    ).subquery("job")
    success, failure, opened = aliased(Run, name="success"), aliased(Run, name="failure"), aliased(Run, name="opened")
    done = progress(select(Run.id).where(is_open(Run.status)).subquery("open_run"))
    body = json_object(
        {
            "task": job.c.task,
            "last_success_id": success.id,
            "last_success_at": json_time(success.finished_at),
            "last_success_note": success.note,
            "last_failure_id": failure.id,
            "last_failure_at": json_time(failure.finished_at),
            "last_failure_error_class": failure.error_class,
            "last_failure_error_message": failure.error_message,
            "open_id": opened.id,
            "open_status": opened.status,
            "open_trigger": opened.trigger,
            "open_created_at": json_time(opened.created_at),
            "open_started_at": json_time(opened.started_at),
            "open_stale": json_bool(func.coalesce(is_stale(opened.status, done), literal_column("false"))),
            **{f"open_{name}": done.c[name] for name in ("chunks", "chunks_done", "rows_done", "rows_total")},
            "lacking": _of_noun(job, {name: count_up_to(lacking, most) for name, lacking in _LACKING.items()}),
            "lacking_since": json_time(
                _of_noun(job, {name: oldest_never_asked(lacking) for name, lacking in _LACKING.items()})
            ),
        }
    )
    return (
        select(job.c.number, as_text(body))
        .outerjoin(success, success.id == last_run(job.c.task, Status.SUCCEEDED))
        .outerjoin(failure, failure.id == last_run(job.c.task, Status.FAILED))
        .outerjoin(opened, (opened.task == job.c.task) & is_open(opened.status))
        .outerjoin(done, done.c.run_id == opened.id)
        .order_by(job.c.number)
    )


def _of_noun(job: FromClause, answers: dict[Job, Any]) -> ColumnElement[Any]:
    return case(*((job.c.task == constant(name), answer.scalar_subquery()) for name, answer in answers.items()))


class _UsersByEstimate(FunctionElement[int]):
    """The number of users that the database reckons with; below zero when it has no idea."""

    type = Integer()
    inherit_cache = True


@compiles(_UsersByEstimate, "postgresql")
def _estimate_on_postgresql(_element: _UsersByEstimate, _compiler: SQLCompiler, **_: Any) -> str:
    return "(SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass('users'))"


@compiles(_UsersByEstimate, "sqlite")
def _estimate_on_sqlite(_element: _UsersByEstimate, _compiler: SQLCompiler, **_: Any) -> str:
    return "-1"


@cache
def _totals(most: int) -> Executable:
    estimate = _UsersByEstimate()
    large = estimate >= literal_column("100000")
    count = select(func.count(User.id)).scalar_subquery()
    some = select(User.id).where(User.removed_at.is_not(None)).limit(literal_column(str(most))).subquery()
    body = json_object(
        {
            "users": case((large, estimate), else_=count),
            "is_estimate": json_bool(large),
            "removed": select(func.count()).select_from(some).scalar_subquery(),
            "now": json_time(clock.now()),
        }
    )
    return select(literal_column("1", Integer), as_text(body))
