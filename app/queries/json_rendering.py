"""JSON built by the database, so that a row is turned into text once and never becomes an object in Python."""

from typing import Any

from sqlalchemy import ColumnElement, String, Text, case, cast, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

Column = ColumnElement[Any] | InstrumentedAttribute[Any]


class _JsonObject(FunctionElement[str]):
    type = String()
    inherit_cache = True


class _JsonTime(FunctionElement[str]):
    type = String()
    inherit_cache = True


class _JsonBool(FunctionElement[str]):
    type = String()
    inherit_cache = True


@compiles(_JsonObject, "postgresql")
def _object_on_postgresql(element: _JsonObject, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_build_object({compiler.process(element.clauses, **kw)})"


@compiles(_JsonObject, "sqlite")
def _object_on_sqlite(element: _JsonObject, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_object({compiler.process(element.clauses, **kw)})"


@compiles(_JsonTime, "postgresql")
def _time_on_postgresql(element: _JsonTime, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(_JsonTime, "sqlite")
def _time_on_sqlite(element: _JsonTime, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(replace({compiler.process(element.clauses, **kw)}, ' ', 'T') || '+00:00')"


@compiles(_JsonBool, "postgresql")
def _bool_on_postgresql(element: _JsonBool, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(_JsonBool, "sqlite")
def _bool_on_sqlite(element: _JsonBool, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json(CASE WHEN {compiler.process(element.clauses, **kw)} THEN 'true' ELSE 'false' END)"


def json_object(members: dict[str, Column], *, unless_null: Column | None = None) -> ColumnElement[str]:
    """A JSON object of the members; JSON's null where ``unless_null`` is NULL."""
    built = _JsonObject(*(part for name, value in members.items() for part in (constant(name), value)))
    return built if unless_null is None else case((unless_null.is_not(None), built))


def constant(text: str) -> ColumnElement[str]:
    """A text of our own, written out in the statement: as a parameter it would be handled anew at each execution."""
    if not text.isascii() or {"'", "%", ":", "\\"} & set(text):
        raise ValueError(f"{text!r} would have to be quoted")
    return literal_column(f"'{text}'", String)


def json_time(time: Column) -> ColumnElement[str]:
    """A time as ISO 8601 in UTC."""
    return _JsonTime(time)


def json_bool(condition: ColumnElement[bool]) -> ColumnElement[str]:
    """True or false, which SQLite's own JSON would show as 1 or 0."""
    return _JsonBool(condition)


def as_text(rendered: ColumnElement[str]) -> ColumnElement[str]:
    """The JSON as text, which the driver hands over as it is."""
    return cast(rendered, Text)
