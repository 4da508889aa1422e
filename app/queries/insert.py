"""Inserts that may come twice."""

from typing import Any

from sqlalchemy import Insert
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(table: Any, dialect: str) -> Insert:
    """An INSERT that leaves out rows whose key is there: PostgreSQL and SQLite have it, SQL's standard has not.

    dialect: the name of the database's.
    """
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()
