"""The database's clock: one clock for all workers, whatever their own say."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.models import UtcDateTime


class _NowPlus(FunctionElement[datetime]):
    """The start of the transaction plus some seconds."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(_NowPlus, "postgresql")
def _on_postgresql(element: _NowPlus, compiler: SQLCompiler, **kw: Any) -> str:
    if not element.clauses.clauses:
        return "now()"
    return f"(now() + ({compiler.process(element.clauses, **kw)}) * interval '1 second')"


@compiles(_NowPlus, "sqlite")
def _on_sqlite(element: _NowPlus, compiler: SQLCompiler, **kw: Any) -> str:
    if not element.clauses.clauses:
        return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
    # As SQLAlchemy stores times there, with six decimals, so that they compare as text.
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', ({compiler.process(element.clauses, **kw)}) || ' seconds')"


def now() -> ColumnElement[datetime]:
    """The database's time, aware and in UTC."""
    return _NowPlus()


def now_plus(seconds: float | ColumnElement[int] | ColumnElement[float]) -> ColumnElement[datetime]:
    """The database's time so many seconds from now."""
    return _NowPlus(seconds)
