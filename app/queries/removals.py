"""Whom a sync has seen, page by page, and which users it has not."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Insert, Select, bindparam, delete, func, select, true, update

from app.models import RunChunk, SeenPage, User
from app.queries import clock
from app.queries.insert import insert_new
from app.records import Counts, UserPage


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run has seen.

    records: how many records it knows by their ids. users: how many different ids these have. smallest_total,
    largest_total: how many users the source said it has, page by page; None when it did not say so with each.
    """

    records: int
    users: int
    smallest_total: int | None
    largest_total: int | None


def seen_page(page: UserPage, chunk_id: int, position: int, counts: Counts) -> dict[str, Any]:
    """The row that says whom a page has shown; empty when it has shown nobody."""
    if not page.size:
        return {}
    return {
        "chunk_id": chunk_id,
        "position": position,
        "external_ids": list(page.seen),
        "records": counts.total() - page.unknown,
        # A collection that comes as a whole says by that how many there are.
        "total": page.size if page.complete else page.total,
    }


@cache
def note_page(dialect: str) -> Insert:
    """Inserts such a row, unless a worker that has taken the chunk over has: who holds the lease is asked for next."""
    columns = SeenPage.__table__.columns
    return insert_new(SeenPage.__table__, dialect).values(
        {column.name: bindparam(column.name, type_=column.type) for column in columns}
    )


def count_absent(connection: Connection, run_id: int) -> int:
    """How many users the run has not seen, of those that are not marked as removed."""
    return connection.execute(_count_absent(connection.dialect.name), {"run_id": run_id}).scalar_one()


def seen_by(connection: Connection, run_id: int) -> Seen:
    """What the run has seen."""
    chunk = (RunChunk.id == SeenPage.chunk_id) & (RunChunk.run_id == run_id)
    records, untold, smallest, largest = connection.execute(
        select(
            func.coalesce(func.sum(SeenPage.records), 0),
            func.count() - func.count(SeenPage.total),
            func.min(SeenPage.total),
            func.max(SeenPage.total),
        ).join(RunChunk, chunk)
    ).one()
    different = _ids(connection.dialect.name).distinct().subquery()
    users = connection.execute(select(func.count()).select_from(different), {"run_id": run_id}).scalar_one()
    return Seen(int(records), users, None if untold else smallest, None if untold else largest)


def mark_absent(connection: Connection, run_id: int) -> int:
    """Marks the users that the run has not seen; how many. They are locked in the order of their ids, as always."""
    absent = _absent(connection.dialect.name).order_by(User.id).with_for_update(key_share=True, of=User)
    marked = update(User.__table__).where(User.id.in_(absent))
    now = clock.now()
    return connection.execute(marked.values(removed_at=now, updated_at=now), {"run_id": run_id}).rowcount


def forget(connection: Connection, run_id: int) -> None:
    """Deletes the notes of whom the run has seen."""
    chunks = select(RunChunk.id).where(RunChunk.run_id == run_id)
    connection.execute(delete(SeenPage).where(SeenPage.chunk_id.in_(chunks)))


@cache
def _count_absent(dialect: str) -> Select[tuple[int]]:
    return select(func.count()).select_from(_absent(dialect).subquery())


def _absent(dialect: str) -> Select[tuple[int]]:
    """Users without a mark that the run has not seen, by an anti-join: one pass over both, however many they are."""
    ids = _ids(dialect).subquery("seen")
    missed = select(User.id).outerjoin(ids, ids.c.external_id == User.external_id)
    return missed.where(User.removed_at.is_(None), ids.c.external_id.is_(None))


def _ids(dialect: str) -> Select[tuple[int]]:
    """The external ids on the pages of the run ``run_id``, each as often as it came."""
    if dialect == "postgresql":
        ids = func.unnest(SeenPage.external_ids).table_valued("value").render_derived()
    else:
        ids = func.json_each(SeenPage.external_ids).table_valued("value")
    chunk = (RunChunk.id == SeenPage.chunk_id) & (RunChunk.run_id == bindparam("run_id", type_=BigInteger))
    return select(ids.c.value.label("external_id")).select_from(SeenPage).join(RunChunk, chunk).join(ids, true())
