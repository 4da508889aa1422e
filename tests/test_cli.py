"""The command line, as a person or a script in a shell uses it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Mirror, migrate


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """``python -m app`` with these variables."""
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=PROJECT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Waiting for the schema


def test_a_database_with_this_codes_tables_is_ready_at_once(database_url: str) -> None:
    done = command("wait-for-schema", DATABASE_URL=database_url)

    assert done.returncode == 0
    assert "which this code works with" in done.stderr


def test_a_database_that_is_ahead_is_ready_too(database_url: str, mirror: Mirror) -> None:
    mirror.execute("UPDATE alembic_version SET version_num = '9999'")

    done = command("wait-for-schema", DATABASE_URL=database_url)

    assert done.returncode == 0
    assert "9999, ahead of this code" in done.stderr


@pytest.mark.parametrize(
    ("revision", "reason"), [("base", "without tables and this code needs"), ("0001", "at revision 0001 and this code")]
)
def test_a_database_that_is_behind_is_waited_for(tmp_path: Path, revision: str, reason: str) -> None:
    url = f"sqlite+pysqlite:///{tmp_path / 'behind.db'}"
    if revision != "base":
        migrate(url, revision)

    done = command("wait-for-schema", "--timeout", "0", DATABASE_URL=url)

    assert done.returncode == 3
    assert reason in done.stderr


def test_a_database_that_is_migrated_meanwhile_ends_the_wait(tmp_path: Path) -> None:
    url = f"sqlite+pysqlite:///{tmp_path / 'late.db'}"
    waiting = subprocess.Popen(
        [sys.executable, "-m", "app", "wait-for-schema"],
        cwd=PROJECT,
        env=os.environ | {"DATABASE_URL": url},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    assert "without tables" in waiting.stderr.readline()

    migrate(url)

    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert "which this code works with" in said


def test_a_wait_ends_when_it_is_told_to(tmp_path: Path) -> None:
    waiting = subprocess.Popen(
        [sys.executable, "-m", "app", "wait-for-schema"],
        cwd=PROJECT,
        env=os.environ | {"DATABASE_URL": f"sqlite+pysqlite:///{tmp_path / 'never.db'}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    assert "without tables" in waiting.stderr.readline()

    waiting.terminate()

    assert waiting.communicate(timeout=60)[1] == ""
    assert waiting.returncode == 128 + signal.SIGTERM


def test_a_database_out_of_reach_is_said_to_be(closed_port: int) -> None:
    url = f"postgresql://somebody:geheim@127.0.0.1:{closed_port}/anything"

    done = command("wait-for-schema", "--timeout", "0", DATABASE_URL=url)

    assert done.returncode == 3
    assert "the database is out of reach (" in done.stderr
    assert "geheim" not in done.stderr + done.stdout


# Bringing the tables there


def test_migrate_brings_an_empty_database_to_this_codes_tables_and_leaves_them_the_second_time(tmp_path: Path) -> None:
    url = f"sqlite+pysqlite:///{tmp_path / 'new.db'}"

    for _ in range(2):
        done = command("migrate", DATABASE_URL=url)

        assert done.returncode == 0, done.stderr
        assert "which this code works with" in done.stderr
    assert command("wait-for-schema", "--timeout", "0", DATABASE_URL=url).returncode == 0


def test_migrate_leaves_a_database_alone_that_is_ahead(database_url: str, mirror: Mirror) -> None:
    mirror.execute("UPDATE alembic_version SET version_num = '9999'")

    done = command("migrate", DATABASE_URL=database_url)

    assert done.returncode == 0
    assert "9999, ahead of this code" in done.stderr
    assert mirror.rows("SELECT version_num FROM alembic_version") == [{"version_num": "9999"}]


def test_migrate_waits_for_the_database(closed_port: int) -> None:
    url = f"postgresql://somebody:geheim@127.0.0.1:{closed_port}/anything"

    done = command("migrate", "--timeout", "0", DATABASE_URL=url)

    assert done.returncode == 3
    assert "Gave up after 0 s: the database is out of reach (" in done.stderr


# What is wrong with the command


def test_a_wrong_setting_is_named_in_one_line() -> None:
    done = command("wait-for-schema", DATABASE_URL="geheim")

    assert done.returncode == 2
    assert done.stderr.startswith("DATABASE_URL='***' is wrong: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["nonsense"], ["wait-for-schema", "--timeout", "-1"], ["run", "--port", "http"]])
def test_a_wrong_command_says_how_it_is_used(arguments: list[str]) -> None:
    done = command(*arguments)

    assert done.returncode == 2
    assert "Usage: python -m app" in done.stderr
    assert "Traceback" not in done.stderr
