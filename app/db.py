"""Connections to the database: one engine a process, made after the fork, on first use."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import QueuePool

CONNECT_TIMEOUT_SECONDS = 5
SILENCE_SECONDS = 30
SQLITE_BUSY_TIMEOUT_SECONDS = 30


POOL_DOCUMENTATION = {
    "in_use": "Connections to the database that are lent out just now.",
    "size": "Connections to the database that may be lent out at once.",
    "failures": "Times that no connection was to be had: all were lent out for too long, or the database was away.",
}


@dataclass(frozen=True, slots=True)
class PoolUse:
    """What POOL_DOCUMENTATION says."""

    in_use: int
    size: int
    failures: int = 0


class Database:
    """Synchronous access for jobs and migrations.

    Making one connects to nothing. A child process never touches its parent's connections.
    on_failure: called when no connection is to be had.
    """

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        self._url = make_url(url)
        self._pool_size = pool_size
        self._engine: Engine | None = None
        self._pid = 0
        self.on_failure: Callable[[], object] | None = None

    @property
    def engine(self) -> Engine:
        if self._engine is None or self._pid != os.getpid():
            if self._engine is not None:
                self._engine.dispose(close=False)
            options = engine_options(self._url, self._pool_size)
            self._engine = listen(create_engine(self._url, pool_pre_ping=True, **options))
            self._pid = os.getpid()
        return self._engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in a transaction that commits at the end, or rolls back on an error."""
        with self._connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for reads, which takes no write lock on SQLite."""
        with self._connect().execution_options(read_only=True) as connection:
            yield connection

    def _connect(self) -> Connection:
        try:
            return self.engine.connect()
        except Exception:
            if self.on_failure is not None:
                self.on_failure()
            raise

    def pool_use(self) -> PoolUse:
        return pool_use(self.engine)

    def dispose(self) -> None:
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()


def pool_use(engine: Engine) -> PoolUse:
    """How much of an engine's pool is lent out."""
    # SQLite in memory has one connection and no pool.
    return (
        PoolUse(engine.pool.checkedout(), engine.pool.size()) if isinstance(engine.pool, QueuePool) else PoolUse(0, 1)
    )


def connect_arguments() -> dict[str, Any]:
    """What every connection to PostgreSQL is opened with."""
    return {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        # A server that is gone without a word, with its node or its network, would be waited for by the hour.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 4,
        "tcp_user_timeout": SILENCE_SECONDS * 1_000,
        "application_name": "synergyway",
        # UTC in every session, so that times rendered by the database read the same everywhere.
        "options": "-c TimeZone=UTC",
    }


def engine_options(url: URL, pool_size: int) -> dict[str, Any]:
    """What SQLAlchemy makes an engine with, synchronous or not."""
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}, "hide_parameters": True}
    return {
        # Errors are logged: they name the statement, not the values.
        "hide_parameters": True,
        "connect_args": connect_arguments(),
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": CONNECT_TIMEOUT_SECONDS,
    }


def listen(engine: Engine) -> Engine:
    """Has SQLite's connections set up; the same engine."""
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
