"""Asynchronous reads for the API: the driver's own pool on PostgreSQL, SQLAlchemy's engine on SQLite."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from opentelemetry.trace import SpanKind
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests
from sqlalchemy import Executable, literal, make_url, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from app import tracing
from app.db import CONNECT_TIMEOUT_SECONDS, PoolUse, connect_arguments, engine_options, listen, pool_use
from app.errors import DatabaseUnavailable

Row = Sequence[Any]

# How long a request waits for a connection, and how many may wait: beyond that an answer would come too late anyway.
_WAIT_SECONDS = 3
_MOST_WAITING = 1_000

_LOST = (psycopg.OperationalError, psycopg.InterfaceError)
_PING = select(literal(1))
_DIALECT = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]


class AsyncDatabase(ABC):
    """Reads, each a statement of its own: none needs a transaction. Making one connects to nothing."""

    @abstractmethod
    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:
        """All rows of a read. Raises DatabaseUnavailable when the database is out of reach."""

    @abstractmethod
    async def open(self) -> None:
        """Called once in the event loop that reads."""

    @abstractmethod
    async def close(self) -> None:
        """Closes all connections."""

    @abstractmethod
    def pool_use(self) -> PoolUse:
        """Connections that are lent out, and how many may be."""

    async def ping(self) -> None:
        """Raises DatabaseUnavailable when the database is out of reach."""
        await self.rows(_PING)


def async_database(url: str, *, pool_size: int) -> AsyncDatabase:
    """The reads for a database's address, on at most ``pool_size`` connections."""
    parsed = make_url(url)
    return _Sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _PostgreSql(parsed, pool_size)


class _PostgreSql(AsyncDatabase):
    """On the driver alone, which costs a third of what SQLAlchemy's asynchronous engine does."""

    def __init__(self, url: URL, pool_size: int) -> None:
        self._pool = AsyncConnectionPool(
            kwargs={**_driver_arguments(url), **connect_arguments(), "autocommit": True},
            min_size=0,
            max_size=pool_size,
            timeout=_WAIT_SECONDS,
            max_waiting=_MOST_WAITING,
            # Given up soon, so that the next request tries anew: the pool's own pauses grow to minutes.
            reconnect_timeout=CONNECT_TIMEOUT_SECONDS,
            open=False,
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    def pool_use(self) -> PoolUse:
        found = self._pool.get_stats()
        # A number that is 0 is left out.
        in_use, failures = found["pool_size"] - found["pool_available"], found.get("requests_errors", 0)
        return PoolUse(in_use, self._pool.max_size, failures)

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:
        sql, constants = _rendered(statement)
        values = {**constants, **parameters} if parameters else constants
        try:
            try:
                return await self._fetch(sql, values)
            except (PoolTimeout, TooManyRequests):
                raise
            except _LOST:
                # The pool finds a dead connection out by using it, and one seldom comes alone.
                await self._pool.check()
                return await self._fetch(sql, values)
        except _LOST as error:
            raise DatabaseUnavailable(str(error)) from error

    async def _fetch(self, sql: str, values: Mapping[str, Any]) -> Sequence[Row]:
        async with self._pool.connection() as connection:
            if not tracing.is_set_up():
                return await (await connection.execute(sql, values)).fetchall()
            # As SQLAlchemy's instrumentation tells what the jobs' statements are; values are parameters, and not in it.
            with tracing.span("SELECT", SpanKind.CLIENT, db__system__name="postgresql", db__query__text=sql):
                return await (await connection.execute(sql, values)).fetchall()


class _Sqlite(AsyncDatabase):
    def __init__(self, url: URL) -> None:
        options = engine_options(url, pool_size=1) | {
            "isolation_level": "AUTOCOMMIT",
            "execution_options": {"read_only": True},
        }
        self._engine = create_async_engine(url.set(drivername="sqlite+aiosqlite"), **options)
        listen(self._engine.sync_engine)

    async def open(self) -> None:
        tracing.trace_database(self._engine.sync_engine)

    async def close(self) -> None:
        await self._engine.dispose()

    def pool_use(self) -> PoolUse:
        return pool_use(self._engine.sync_engine)

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:
        try:
            async with self._engine.connect() as connection:
                return (await connection.execute(statement, parameters)).all()
        except (OperationalError, InterfaceError) as error:
            raise DatabaseUnavailable(str(error)) from error


def _driver_arguments(url: URL) -> dict[str, Any]:
    arguments: dict[str, Any] = _DIALECT.create_connect_args(url)[1]  # type: ignore[no-untyped-call]
    return arguments


@lru_cache(maxsize=4_096)
def _rendered(statement: Executable) -> tuple[str, Mapping[str, Any]]:
    """The statement's text and the values that are written in it: rendered once, so statements are built once."""
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]  # every statement that reads has it
    return str(compiled), compiled.params
