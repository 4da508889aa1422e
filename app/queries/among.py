"""Whether an id is among given ones, however many: one parameter, and one statement for any number of them."""

from collections.abc import Collection
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Boolean, String, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _Among(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True


@compiles(_Among, "postgresql")
def _on_postgresql(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, ids = (compiler.process(clause, **kw) for clause in element.clauses)
    # An array, for which PostgreSQL looks into an index as it does for IN (…).
    return f"{column} = ANY (CAST(translate({ids}, '[]', '{{}}') AS BIGINT[]))"


@compiles(_Among, "sqlite")
def _on_sqlite(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, ids = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608  # nosec B608  # SQLAlchemy rendered both


def among(column: InstrumentedAttribute[int], name: str) -> _Among:
    """column: of ids. name: of the statement's parameter, which ``given`` makes.

    SQLAlchemy's ``in_`` writes the statement anew for each list and has the driver handle each id.
    """
    return _Among(column, bindparam(name, type_=String))


def given(ids: Collection[int]) -> str:
    """The value of such a parameter."""
    return to_json(ids if isinstance(ids, list) else list(ids)).decode()
