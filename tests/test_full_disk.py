"""SQLite on a disk that is full in the middle of a run, and has room again later."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.records import ChunkMessage, Job
from app.services import retries, runs
from tests.conftest import LocalWorker
from tests.fake_source import DummyJsonLike, FakeSource

USERS = 600
_ROOM_BYTES = 200_000
# Runners of public CI are not root, and may become it unasked.
_AS_ROOT = ["sudo", "-n"] if os.geteuid() and shutil.which("sudo") else []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size=4m,mode=700,uid={os.geteuid()}"
    command = [*_AS_ROOT, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        assert os.environ.get("REQUIRE_DOCKER") != "1", f"no test may be left out here, and {mounted.stderr}"
        pytest.skip(f"only root may mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run([*_AS_ROOT, "umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def database_url(disk: Path, migrated_file: Path) -> str:
    """A database of this test's own, on that disk."""
    return f"sqlite+pysqlite:///{shutil.copy(migrated_file, disk / 'test.db')}"


@pytest.fixture
def fill(disk: Path) -> Callable[[], Path]:
    """Leaves little room on the disk; what fills it."""

    def write() -> Path:
        room = os.statvfs(disk)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - _ROOM_BYTES))
        return ballast

    return write


def is_sound(worker: LocalWorker) -> bool:
    return worker.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}] and not worker.rows(
        "PRAGMA foreign_key_check"
    )


def test_a_full_disk_costs_a_pause_and_spoils_nothing(
    make_worker: Callable[..., LocalWorker],
    source: FakeSource,
    sample: Callable[[int], DummyJsonLike],
    fill: Callable[[], Path],
) -> None:
    source.respond = sample(USERS)
    worker = make_worker(USERS_PAGE_SIZE=10)
    message_id = "of-the-test"
    chunk_id = runs.receive(worker.context, Job.SYNC_USERS, message_id, None)
    assert chunk_id is not None
    message = ChunkMessage(Job.SYNC_USERS, chunk_id)
    ballast = fill()

    # What cannot be noted on the disk either goes to Celery, which keeps the message for later.
    try:
        worker.perform(message, message_id)
        (error,) = [retry.error for retry in worker.retries]
    except OperationalError as raised:
        error = raised

    assert retries.passes(error)
    assert "database or disk is full" in str(error)
    done = worker.rows("SELECT count(*) AS n FROM users")[0]["n"]
    assert 0 < done < USERS
    assert worker.rows("SELECT status FROM runs") == [{"status": "running"}]
    assert is_sound(worker)

    ballast.unlink()
    if worker.retries:
        worker.execute("UPDATE run_chunks SET not_before = created_at")
    worker.perform(message, message_id)

    assert worker.rows("SELECT status, inserted, unchanged FROM runs WHERE task = 'sync_users'") == [
        {"status": "succeeded", "inserted": USERS, "unchanged": 0}
    ]
    assert worker.rows("SELECT count(*) AS n FROM users") == [{"n": USERS}]
    assert is_sound(worker)
