"""The command line, as a person or a script in a shell uses it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import ProviderError
from app.records import ChunkMessage, Job
from tests.conftest import PROJECT, LocalWorker, Mirror, migrate
from tests.fake_source import FakeSource


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


# Runs


@pytest.fixture
def shell(database_url: str, source: FakeSource, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command with a database, and a broker in files."""
    for folder in ("queue", "control"):
        (tmp_path / "broker" / folder).mkdir(parents=True)
    variables = {
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": "filesystem://localhost//",
        "CELERY_RESULT_BACKEND": "disabled://",
        "FILESYSTEM_BROKER_DIR": str(tmp_path / "broker"),
        "USERS_API_URL": source.url,
    }
    return lambda *arguments, **more: command(*arguments, **{**variables, **more})


Shell = Callable[..., subprocess.CompletedProcess[str]]


def test_a_run_is_started_and_shown(shell: Shell, worker: LocalWorker) -> None:
    done = shell("trigger", "enrich_missing_cards", "--batch-size", "7", "--json")

    assert done.returncode == 0
    run = json.loads(done.stdout)
    assert (run["trigger"], run["status"], run["batch_size"]) == ("cli", "queued", 7)
    assert json.loads(shell("runs", "--json").stdout) == [run]
    assert "enrich_missing_cards  cli" in shell("runs", "--task", "enrich_missing_cards").stdout
    assert json.loads(shell("runs", "--json", "--status", "failed").stdout) == []
    queued = json.loads(shell("status", "--json").stdout)
    assert queued["queues"]["synergyway"]["messages"] == 1
    assert [job["open_id"] for job in queued["jobs"]] == [None, None, run["id"]]


def test_a_run_is_waited_for(shell: Shell, worker: LocalWorker, source: FakeSource) -> None:
    source.answer({"users": [{"id": 1, "firstName": "Emily"}], "total": 1, "skip": 0, "limit": 1})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(shell, "trigger", "sync_users", "--wait", "--timeout", "60")
        chunk_id = eventually_a_chunk(worker)
        worker.perform(ChunkMessage(Job.SYNC_USERS, chunk_id))
        done = waiting.result()

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].endswith("of sync_users: succeeded (1 inserted)")


def eventually_a_chunk(worker: LocalWorker) -> int:
    while not (chunks := worker.rows("SELECT id FROM run_chunks")):
        time.sleep(0.05)
    return int(chunks[0]["id"])


def test_exit_codes_tell_scripts_what_became_of_it(
    shell: Shell, worker: LocalWorker, source: FakeSource, closed_port: int
) -> None:
    away = f"amqp://guest:guest@127.0.0.1:{closed_port}//"

    refused = shell("trigger", "sync_users", CELERY_BROKER_URL=away)
    assert refused.returncode == 3
    assert "the broker did not take the message" in refused.stderr
    assert shell("status", CELERY_BROKER_URL=away).returncode == 3
    assert shell("trigger", "sync_users", "--wait", "--timeout", "0").returncode == 5
    skipped = shell("trigger", "sync_users")
    assert skipped.returncode == 4
    assert "is open" in skipped.stderr
    source.answer({"people": []})
    with pytest.raises(ProviderError):
        worker.perform(ChunkMessage(Job.SYNC_USERS, worker.rows("SELECT max(id) AS id FROM run_chunks")[0]["id"]))
    assert [run["status"] for run in json.loads(shell("runs", "--json").stdout)] == ["skipped", "failed", "failed"]
    assert "none of the known sources" in shell("status").stdout
    assert shell("trigger", "sync_users", "--batch-size", "5").returncode == 2
    for done in (refused, skipped):
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["runs"], ["status"], ["trigger", "sync_users"]])
def test_a_database_without_tables_or_out_of_reach_is_said_to_be(
    shell: Shell, tmp_path: Path, closed_port: int, arguments: list[str]
) -> None:
    for url in (f"sqlite:///{tmp_path / 'empty.db'}", f"postgresql://somebody:geheim@127.0.0.1:{closed_port}/x"):
        done = shell(*arguments, DATABASE_URL=url)

        assert done.returncode == 3
        assert "The database is out of reach, or has no tables yet" in done.stderr
        assert "Traceback" not in done.stderr
        assert "geheim" not in done.stderr
