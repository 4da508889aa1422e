"""The one upsert builder: a whole page or batch in one statement that leaves unchanged rows alone."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    FromClause,
    String,
    Table,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.types import TypeEngine

from app.queries import clock
from app.records import Counts

Names = tuple[str, ...]
Columns = Mapping[str, Sequence[Any]]


def upsert(connection: Connection, table: Table, columns: Columns) -> Counts:
    """Inserts the rows, or updates those whose key, in the first of the columns, is there with other values.

    columns: the values by name, one a row, as many in each; no key comes twice. created_at and updated_at are set here.
    Unchanged rows are neither written nor locked, and changed ones are locked in the order of their ids, so that
    writers of the same users cannot deadlock.
    """
    names = tuple(columns)
    rows = len(columns[names[0]])
    if not rows:
        return Counts()
    if connection.dialect.name == "postgresql":
        given = {name: to_json(values).decode() for name, values in columns.items()}
        result = connection.exec_driver_sql(_sql_with_columns(connection.dialect, table, names), given)
    else:
        document = to_json(list(zip(*columns.values(), strict=True))).decode()
        result = connection.execute(_with_rows(table, names), {"rows": document})
    is_new = result.scalars().all()
    inserted = sum(is_new)
    return Counts(inserted=inserted, updated=len(is_new) - inserted, unchanged=rows - len(is_new))


@cache
def _sql_with_columns(dialect: Dialect, table: Table, names: Names) -> str:
    """The statement over one JSON array a column: rendered once, as SQLAlchemy does not cache ON CONFLICT statements.

    JSON is the form that costs the client least: psycopg makes arrays element by element in Python, which took longer
    than the server took for the whole statement.
    """
    values = {name: func.json_array_elements_text(bindparam(name, type_=postgresql.JSON())) for name in names}
    # Functions that return sets go on in step in one SELECT, a row at a time.
    given = select(*(cast(values[name], _sent_as(table.c[name].type)).label(name) for name in names)).cte("given")
    return str(_upsert(postgresql, table, names, given).compile(dialect=dialect))


def _sent_as(column_type: TypeEngine[Any]) -> TypeEngine[Any]:
    """A cast to VARCHAR(n) would cut long values off in silence; the column itself refuses them."""
    return Text() if isinstance(column_type, String) else column_type


@cache
def _with_rows(table: Table, names: Names) -> ReturningInsert[Any]:
    """The statement over one JSON document, for SQLite, which has no arrays."""
    row = func.json_each(bindparam("rows")).table_valued("value")
    columns = (func.json_extract(row.c.value, f"$[{index}]").label(name) for index, name in enumerate(names))
    return _upsert(sqlite, table, names, select(*columns).cte("given"))


def _upsert(dialect: Any, table: Table, names: Names, given: FromClause) -> ReturningInsert[Any]:
    key, *changing = names
    there: FromClause = table
    matched: ColumnElement[bool] = table.c[key] == given.c[key]
    if dialect is postgresql:
        # A look into the index of the key for each row. Left to choose, PostgreSQL, which cannot know how many rows are
        # given, reads a table of some ten thousand rows to its end for each page.
        there = select(table).where(matched).limit(literal_column("1")).lateral("there")
        matched = true()
    fresh = (
        select(*(given.c[name] for name in names), clock.now(), clock.now())
        .select_from(given.outerjoin(there, matched))
        .where(there.c[key].is_(None) | or_(*(there.c[name].is_distinct_from(given.c[name]) for name in changing)))
        .order_by(there.c.id, given.c[key])
    )
    insert = dialect.insert(table).from_select([*names, "created_at", "updated_at"], fresh)
    statement: ReturningInsert[Any] = insert.on_conflict_do_update(
        index_elements=[key],
        set_={name: insert.excluded[name] for name in [*changing, "updated_at"]},
        # Once more, for a row that another transaction wrote since this statement began.
        where=or_(*(table.c[name].is_distinct_from(insert.excluded[name]) for name in changing)),
    ).returning((table.c.created_at == table.c.updated_at).label("is_new"))
    return statement
