"""The one upsert builder: a whole page or batch in one statement that leaves unchanged rows alone."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Dialect, FromClause, String, Table, Text, bindparam, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.types import TypeEngine

from app.queries import clock
from app.records import Counts

Names = tuple[str, ...]
Rows = Sequence[tuple[Any, ...]]


def upsert(connection: Connection, table: Table, names: Names, rows: Rows) -> Counts:
    """Inserts the rows, or updates those whose key, the first of the named columns, is there with other values.

    created_at and updated_at are set here. Of two rows with the same key the later one counts. Unchanged rows are
    neither written nor locked, and changed ones are locked in the order of their ids, so that writers of the same
    users cannot deadlock.
    """
    unique = list({row[0]: row for row in rows}.values())
    if not unique:
        return Counts()
    if connection.dialect.name == "postgresql":
        arrays = dict(zip(names, map(list, zip(*unique, strict=True)), strict=True))
        result = connection.exec_driver_sql(_sql_with_arrays(connection.dialect, table, names), arrays)
    else:
        result = connection.execute(_with_json(table, names), {"rows": json.dumps(unique, ensure_ascii=False)})
    is_new = result.scalars().all()
    inserted = sum(is_new)
    return Counts(inserted=inserted, updated=len(is_new) - inserted, unchanged=len(unique) - len(is_new))


@cache
def _sql_with_arrays(dialect: Dialect, table: Table, names: Names) -> str:
    """The statement over one array a column: rendered once, as SQLAlchemy does not cache ON CONFLICT statements.

    The arrays go to the server in binary form (``%b``): as text, psycopg would spend more time on quoting them than
    the server on the whole statement.
    """
    arrays = (bindparam(name, type_=postgresql.ARRAY(_sent_as(table.c[name].type))) for name in names)
    given = func.unnest(*arrays).table_valued(*names).render_derived(name="given")
    sql = str(_upsert(postgresql, table, names, given).compile(dialect=dialect))
    for name in names:
        sql = sql.replace(f"%({name})s", f"%({name})b")
    return sql


def _sent_as(column_type: TypeEngine[Any]) -> TypeEngine[Any]:
    """A cast to VARCHAR(n) would cut long values off in silence; the column itself refuses them."""
    return Text() if isinstance(column_type, String) else column_type


@cache
def _with_json(table: Table, names: Names) -> ReturningInsert[Any]:
    """The statement over one JSON document, for SQLite, which has no arrays."""
    row = func.json_each(bindparam("rows")).table_valued("value")
    columns = (func.json_extract(row.c.value, f"$[{index}]").label(name) for index, name in enumerate(names))
    return _upsert(sqlite, table, names, select(*columns).cte("given"))


def _upsert(dialect: Any, table: Table, names: Names, given: FromClause) -> ReturningInsert[Any]:
    key, *changing = names
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
