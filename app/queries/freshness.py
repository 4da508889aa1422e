"""How fresh the mirror is and what waits, at a cost that does not grow with the number of users that lack nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from app.models import Run, User
from app.queries import clock
from app.queries.enrichment import Lacking
from app.records import Job, Status

_NEVER_ASKED = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Users that lack a row: those who are due now, and those whom the source did not have and who are put off.

    oldest: when the first of those users came that nobody has asked the source about; None when all were asked about.
    """

    waiting: int
    put_off: int
    oldest: datetime | None


def last_successes(connection: Connection) -> dict[Job, datetime | None]:
    """When each job last succeeded."""
    newest = (
        select(func.max(Run.finished_at)).where(Run.task == job, Run.status == Status.SUCCEEDED).scalar_subquery()
        for job in Job
    )
    return dict(zip(Job, connection.execute(select(*newest)).one(), strict=True))


def backlog(connection: Connection, lacking: Lacking) -> Backlog:
    """Counted in the partial index of users that lack the row."""
    due = lacking.due_at <= clock.now()
    counted = select(func.count(User.id), func.count(User.id).filter(due)).where(~lacking.has)
    total, waiting = connection.execute(counted).one()
    never_asked = select(User.created_at).where(~lacking.has, lacking.due_at == _NEVER_ASKED)
    oldest = connection.execute(never_asked.order_by(User.id).limit(1)).scalar_one_or_none()
    return Backlog(waiting, total - waiting, oldest)
