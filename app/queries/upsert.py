"""The one upsert builder: a whole page or batch in one statement that leaves unchanged rows alone."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, FromClause, Table, bindparam, column, func, or_, select, values
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from app.queries import clock
from app.records import Counts

Rows = Sequence[Mapping[str, Any]]


def upsert(connection: Connection, table: Table, key: str, rows: Rows) -> Counts:
    """Inserts the rows, or updates those whose ``key`` is there with other values.

    All rows have the same columns, none of them created_at or updated_at, which are set here. Of two rows with the
    same key the later one counts. Unchanged rows are neither written nor locked, and changed ones are locked in the
    order of their ids, so that writers of the same users cannot deadlock.
    """
    unique = list({row[key]: row for row in rows}.values())
    if not unique:
        return Counts()
    names = tuple(unique[0])
    if connection.dialect.name == "postgresql":
        arrays = {name: [row[name] for row in unique] for name in names}
        result = connection.execute(_from_arrays(table, key, names), arrays)
    else:
        result = connection.execute(_upsert(sqlite, table, key, names, _as_values(table, names, unique)))
    is_new = result.scalars().all()
    inserted = sum(is_new)
    return Counts(inserted=inserted, updated=len(is_new) - inserted, unchanged=len(unique) - len(is_new))


@cache
def _from_arrays(table: Table, key: str, names: tuple[str, ...]) -> ReturningInsert[Any]:
    arrays = (bindparam(name, type_=postgresql.ARRAY(table.c[name].type)) for name in names)
    given = func.unnest(*arrays).table_valued(*names, name="given").render_derived()
    return _upsert(postgresql, table, key, names, given)


def _as_values(table: Table, names: tuple[str, ...], rows: Rows) -> FromClause:
    columns = (column(name, table.c[name].type) for name in names)
    return values(*columns, name="given").data([tuple(row[name] for name in names) for row in rows]).cte("given")


def _upsert(dialect: Any, table: Table, key: str, names: tuple[str, ...], given: FromClause) -> ReturningInsert[Any]:
    changing = [name for name in names if name != key]
    fresh = (
        select(*(given.c[name] for name in names), clock.now(), clock.now())
        .select_from(given.outerjoin(table, table.c[key] == given.c[key]))
        .where(table.c[key].is_(None) | or_(*(table.c[name].is_distinct_from(given.c[name]) for name in changing)))
        .order_by(table.c.id, given.c[key])
    )
    insert = dialect.insert(table).from_select([*names, "created_at", "updated_at"], fresh)
    statement: ReturningInsert[Any] = insert.on_conflict_do_update(
        index_elements=[key],
        set_={name: insert.excluded[name] for name in [*changing, "updated_at"]},
        # Once more, for a row that another transaction wrote since this statement began.
        where=or_(*(table.c[name].is_distinct_from(insert.excluded[name]) for name in changing)),
    ).returning((table.c.created_at == table.c.updated_at).label("is_new"))
    return statement
