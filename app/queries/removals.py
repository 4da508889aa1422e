"""Whom a sync has seen, page by page, and which users it has not."""

from dataclasses import dataclass

from sqlalchemy import Connection, FromClause, Select, delete, func, insert, select, true, update

from app.models import RunChunk, SeenPage, User
from app.queries import clock
from app.records import UserPage


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run has seen.

    records: how many records it knows by their ids. users: how many different ids these have. smallest_total,
    largest_total: how many users the source said it has, page by page; None when it did not say so with each.
    absent: how many users the run has not seen, of those that are not marked as removed.
    """

    records: int
    users: int
    smallest_total: int | None
    largest_total: int | None
    absent: int


def remember(connection: Connection, chunk_id: int, position: int, page: UserPage, *, records: int) -> None:
    """Notes whom a page has shown, in the transaction that writes its users."""
    row = {
        "chunk_id": chunk_id,
        "position": position,
        "external_ids": list(page.seen),
        "records": records,
        # A collection that comes as a whole says by that how many there are.
        "total": page.size if page.complete else page.total,
    }
    connection.execute(insert(SeenPage), row)


def seen_by(connection: Connection, run_id: int) -> Seen:
    """What the run has seen, and how many users it has not."""
    of_run = RunChunk.id == SeenPage.chunk_id, RunChunk.run_id == run_id
    untold = func.count() - func.count(SeenPage.total)
    totals = (func.min(SeenPage.total), func.max(SeenPage.total))
    records, untold_pages, smallest, largest = connection.execute(
        select(func.coalesce(func.sum(SeenPage.records), 0), untold, *totals).where(*of_run)
    ).one()
    seen = _seen(connection, run_id).cte("seen")
    users, absent = connection.execute(
        select(
            select(func.count()).select_from(seen).scalar_subquery(),
            select(func.count()).select_from(_absent(seen).subquery()).scalar_subquery(),
        )
    ).one()
    told = untold_pages == 0
    return Seen(int(records), users, smallest if told else None, largest if told else None, absent)


def count_present(connection: Connection) -> int:
    """How many users are not marked as removed."""
    return connection.execute(select(func.count(User.id)).where(User.removed_at.is_(None))).scalar_one()


def mark_absent(connection: Connection, run_id: int) -> int:
    """Marks the users that the run has not seen; how many. They are locked in the order of their ids, as always."""
    seen = _seen(connection, run_id).subquery("seen")
    absent = _absent(seen).order_by(User.id).with_for_update(key_share=True, of=User)
    marked = update(User).where(User.id.in_(absent)).values(removed_at=clock.now(), updated_at=clock.now())
    return connection.execute(marked).rowcount


def forget(connection: Connection, run_id: int) -> None:
    """Deletes the notes of whom the run has seen."""
    chunks = select(RunChunk.id).where(RunChunk.run_id == run_id)
    connection.execute(delete(SeenPage).where(SeenPage.chunk_id.in_(chunks)))


def _seen(connection: Connection, run_id: int) -> Select[tuple[int]]:
    """The different ids on the run's pages."""
    if connection.dialect.name == "postgresql":
        ids = func.unnest(SeenPage.external_ids).table_valued("value").render_derived()
    else:
        ids = func.json_each(SeenPage.external_ids).table_valued("value")
    chunk = (RunChunk.id == SeenPage.chunk_id) & (RunChunk.run_id == run_id)
    pages = select(ids.c.value.label("external_id")).select_from(SeenPage).join(RunChunk, chunk).join(ids, true())
    return pages.distinct()


def _absent(seen: FromClause) -> Select[tuple[int]]:
    # Users that are seen are a join away, which both databases do by a hash or an index of their own.
    missed = select(User.id).outerjoin(seen, seen.c.external_id == User.external_id)
    return missed.where(User.removed_at.is_(None), seen.c.external_id.is_(None))
