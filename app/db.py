"""Connections to the database: one engine a process, made after the fork, on first use."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Row, create_engine, event, literal, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

CONNECT_TIMEOUT_SECONDS = 5
SQLITE_BUSY_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections that are lent out just now, and how many may be at once."""

    in_use: int
    size: int


class Database:
    """Synchronous access for jobs and migrations.

    Making one connects to nothing. A child process never touches its parent's connections.
    """

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        self._url = make_url(url)
        self._pool_size = pool_size
        self._engine: Engine | None = None
        self._pid = 0

    @property
    def engine(self) -> Engine:
        if self._engine is None or self._pid != os.getpid():
            if self._engine is not None:
                self._engine.dispose(close=False)
            options = _options(self._url, self._pool_size)
            self._engine = _listen(create_engine(self._url, pool_pre_ping=True, **options))
            self._pid = os.getpid()
        return self._engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in a transaction that commits at the end, or rolls back on an error."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for reads, which takes no write lock on SQLite."""
        with self.engine.connect().execution_options(read_only=True) as connection:
            yield connection

    def pool_use(self) -> PoolUse:
        return _pool_use(self.engine)

    def dispose(self) -> None:
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()


class AsyncDatabase:
    """Asynchronous reads for the API. Making one connects to nothing."""

    def __init__(self, url: str, *, pool_size: int) -> None:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            parsed = parsed.set(drivername="sqlite+aiosqlite")
        # Reads need no transaction: autocommit saves two round trips to PostgreSQL a request.
        options = _options(parsed, pool_size) | {
            "isolation_level": "AUTOCOMMIT",
            "execution_options": {"read_only": True},
        }
        self.engine: AsyncEngine = create_async_engine(parsed, **options)
        _listen(self.engine.sync_engine)

    async def rows(self, statement: Executable, parameters: dict[str, Any] | None = None) -> Sequence[Row[Any]]:
        """All rows of a read, tried once more on a new connection when a pooled one turns out to be dead."""
        try:
            return await self._rows(statement, parameters)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return await self._rows(statement, parameters)

    async def _rows(self, statement: Executable, parameters: dict[str, Any] | None = None) -> Sequence[Row[Any]]:
        async with self.engine.connect() as connection:
            return (await connection.execute(statement, parameters)).all()

    async def ping(self) -> None:
        """Raises one of SQLAlchemy's errors, or OSError, when the database is out of reach."""
        await self._rows(select(literal(1)))

    def pool_use(self) -> PoolUse:
        return _pool_use(self.engine.sync_engine)

    async def dispose(self) -> None:
        await self.engine.dispose()


def _pool_use(engine: Engine) -> PoolUse:
    # SQLite in memory has one connection and no pool.
    return (
        PoolUse(engine.pool.checkedout(), engine.pool.size()) if isinstance(engine.pool, QueuePool) else PoolUse(0, 1)
    )


def _options(url: URL, pool_size: int) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}, "hide_parameters": True}
    return {
        # Errors are logged: they name the statement, not the values.
        "hide_parameters": True,
        "connect_args": {
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "synergyway",
            # UTC in every session, so that times rendered by the database read the same everywhere.
            "options": "-c TimeZone=UTC",
        },
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": CONNECT_TIMEOUT_SECONDS,
    }


def _listen(engine: Engine) -> Engine:
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # None hands BEGIN to us: the driver's own would take no write lock until the first write, and then fail
    # with "database is locked" instead of waiting.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
