"""How fresh the mirror is and what waits, at a cost that does not grow with the number of users that lack nothing."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, ScalarSelect, literal_column, select

from app.models import Run
from app.queries import enrichment
from app.queries.json_rendering import constant
from app.records import Job, Status


@dataclass(frozen=True, slots=True)
class Backlog:
    """Users that lack a row: those who are due now, and those whom the source did not have and who are put off.

    oldest: when the first of those users was first seen whom the source was never asked about; None when there is none.
    """

    waiting: int
    put_off: int
    oldest: datetime | None


def last_run(task: ColumnElement[str], status: Status) -> ScalarSelect[int]:
    """The id of the task's run that ended so last."""
    runs = select(Run.id).where(Run.task == task, Run.status == constant(status))
    return runs.order_by(Run.finished_at.desc()).limit(literal_column("1")).scalar_subquery()


def last_successes(connection: Connection) -> dict[Job, datetime | None]:
    """When each job last succeeded."""
    newest = (
        select(Run.finished_at).where(Run.id == last_run(constant(job), Status.SUCCEEDED)).scalar_subquery()
        for job in Job
    )
    return dict(zip(Job, connection.execute(select(*newest)).one(), strict=True))


def backlog(connection: Connection, lacking: enrichment.Lacking) -> Backlog:
    """What waits, at a cost that depends on the users that lack the row alone."""
    total, waiting = connection.execute(enrichment.backlog(lacking)).one()
    oldest = connection.execute(enrichment.oldest_never_asked(lacking)).scalar_one_or_none()
    return Backlog(waiting, total - waiting, oldest)
