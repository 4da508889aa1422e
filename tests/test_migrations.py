"""The migrations: there and back, as the models say, by many at once, and the triggers that they leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError

from app.db import Database
from app.records import AddressRecord, CardRecord, UserRecord
from tests.conftest import PROJECT, Mirror, migrate

TABLES = {"users", "addresses", "credit_cards", "runs", "run_chunks", "seen_pages"}
LONG_AGO = "2020-01-01 00:00:00.000000"


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite+pysqlite:///{tmp_path / 'new.db'}"


def tables(url: str) -> set[str]:
    database = Database(url)
    found = set(inspect(database.engine).get_table_names())
    database.dispose()
    return found - {"alembic_version"}


def schema(url: str) -> list[dict[str, str]]:
    database = Database(url)
    found = Mirror(database).rows("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
    database.dispose()
    return found


def test_up_down_and_up_again_gives_the_same_tables(file_url: str) -> None:
    migrate(file_url)
    first = schema(file_url)
    assert tables(file_url) == TABLES

    migrate(file_url, "base")
    assert tables(file_url) == set()

    migrate(file_url)
    assert schema(file_url) == first


def test_going_down_leaves_no_trigger_and_no_index(file_url: str) -> None:
    migrate(file_url)
    migrate(file_url, "base")

    assert {row["name"] for row in schema(file_url)} <= {"alembic_version", "sqlite_autoindex_alembic_version_1"}


def test_up_twice_changes_nothing(file_url: str) -> None:
    migrate(file_url)
    first = schema(file_url)

    migrate(file_url)

    assert schema(file_url) == first


def test_the_models_are_what_the_migrations_make(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)

    command.check(Config(toml_file=str(PROJECT / "pyproject.toml")))


def test_a_difference_between_models_and_tables_is_noticed(
    database_url: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.execute("ALTER TABLE users ADD COLUMN surplus INTEGER")
    monkeypatch.setenv("DATABASE_URL", database_url)

    with pytest.raises(command.util.CommandError, match="surplus"):
        command.check(Config(toml_file=str(PROJECT / "pyproject.toml")))


def test_five_processes_may_migrate_at_once(file_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=PROJECT,
            env=os.environ | {"DATABASE_URL": file_url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]

    assert [process.returncode for process in processes] == [0] * 5, errors
    assert tables(file_url) == TABLES


# Users and the rows that belong to them


@pytest.mark.parametrize(
    ("table", "columns", "flag", "other"),
    [
        ("addresses", "", "has_address", "has_card"),
        ("credit_cards", ", last4", "has_card", "has_address"),
    ],
)
def test_the_flag_follows_the_row_whoever_writes_it(
    mirror: Mirror, table: str, columns: str, flag: str, other: str
) -> None:
    first, _ = mirror.add(UserRecord(1, "Emily"), UserRecord(2, "Olga"))
    mirror.execute(f"UPDATE users SET created_at = '{LONG_AGO}', updated_at = '{LONG_AGO}'")
    before = mirror.rows("SELECT created_at, updated_at FROM users ORDER BY id")
    values = ", '1234'" if columns else ""

    def flags() -> list[tuple[bool, bool]]:
        found = mirror.rows(f"SELECT {flag} AS mine, {other} AS other FROM users ORDER BY id")
        return [(bool(row["mine"]), bool(row["other"])) for row in found]

    mirror.execute(
        f"INSERT INTO {table} (user_id, created_at, updated_at{columns}) "
        f"SELECT id, updated_at, updated_at{values} FROM users"
    )
    assert flags() == [(True, False), (True, False)]

    mirror.execute(f"DELETE FROM {table} WHERE user_id = {first}")
    assert flags() == [(False, False), (True, False)]

    mirror.execute(f"DELETE FROM {table}")
    assert flags() == [(False, False), (False, False)]
    assert mirror.rows("SELECT created_at, updated_at FROM users ORDER BY id") == before


def test_a_user_takes_their_rows_along(mirror: Mirror) -> None:
    first, _ = mirror.add(
        UserRecord(1, "Emily"), UserRecord(2, "Olga"), address=AddressRecord(city="Lyon"), card=CardRecord("1234")
    )

    mirror.execute(f"DELETE FROM users WHERE id = {first}")

    for table in ("users", "addresses", "credit_cards"):
        assert mirror.rows(f"SELECT count(*) AS n FROM {table}") == [{"n": 1}]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO addresses (user_id, created_at, updated_at) SELECT id, created_at, updated_at FROM users",
        "INSERT INTO addresses (user_id, created_at, updated_at) SELECT 999, created_at, updated_at FROM users",
        "INSERT INTO credit_cards (user_id, last4, created_at, updated_at) "
        "SELECT id, '1234', created_at, updated_at FROM users",
        "INSERT INTO users (external_id, name, search_text, created_at, updated_at) "
        "SELECT external_id, name, search_text, created_at, updated_at FROM users",
    ],
)
def test_a_second_row_for_the_same_user_and_a_row_for_nobody_are_refused(mirror: Mirror, statement: str) -> None:
    mirror.add(UserRecord(1, "Emily"), address=AddressRecord(city="Lyon"), card=CardRecord("1234"))

    with pytest.raises(IntegrityError):
        mirror.execute(statement)


def test_ids_beyond_32_bits_fit(mirror: Mirror) -> None:
    mirror.add(UserRecord(2**63 - 1, "Largest"), UserRecord(-(2**63), "Smallest"))

    assert mirror.rows("SELECT external_id FROM users ORDER BY external_id") == [
        {"external_id": -(2**63)},
        {"external_id": 2**63 - 1},
    ]
