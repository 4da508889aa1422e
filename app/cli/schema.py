"""The tables: waiting until the database has them, and bringing it there."""

import signal
import sys
import time
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from app.cli.exit_codes import Exit
from app.cli.output import say
from app.db import Database
from app.settings import Settings

_PROJECT = Path(__file__).parent.parent.parent
_LOOK_SECONDS = 1
_SAY_AGAIN_SECONDS = 30


class Level(Enum):
    """How the database stands to this code."""

    OUT_OF_REACH = auto()
    BEHIND = auto()
    LEVEL = auto()
    AHEAD = auto()


# A database whose revision this code does not know is ahead: during a rollout, or after going back, the version before
# must start too.
_READY = (Level.LEVEL, Level.AHEAD)


class Schema:
    """Compares the database's revision with those that this code knows."""

    def __init__(self, settings: Settings) -> None:
        self.config = Config(toml_file=str(_PROJECT / "pyproject.toml"))
        script = ScriptDirectory.from_config(self.config)
        self._head = script.get_current_head() or ""
        self._known = {revision.revision for revision in script.walk_revisions()}
        self._database = Database(settings.database_url.get_secret_value(), pool_size=1)

    def look(self) -> tuple[Level, str]:
        """How it stands, and that as a sentence without its full stop."""
        try:
            with self._database.reading() as connection:
                found = set(MigrationContext.configure(connection).get_current_heads())
        except DBAPIError as error:
            return Level.OUT_OF_REACH, f"the database is out of reach ({str(error.orig).strip().splitlines()[0]})"
        if self._head in found:
            return Level.LEVEL, f"the database is at revision {self._head}, which this code works with"
        if ahead := ", ".join(sorted(found - self._known)):
            return (
                Level.AHEAD,
                f"the database is at revision {ahead}, ahead of this code, which goes up to {self._head}",
            )
        at = f"at revision {', '.join(sorted(found))}" if found else "without tables"
        return Level.BEHIND, f"the database is {at} and this code needs {self._head}"


def wait(settings: Settings, timeout_seconds: float) -> Exit:
    """OK as soon as the database is at this code's revision or ahead of it; UNREACHABLE when the time is over."""
    # The first process of a container ignores what it does not handle: a pod that still waits would be hard to delete.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return _wait_until(Schema(settings), lambda level: level in _READY, timeout_seconds)


def migrate(settings: Settings, timeout_seconds: float) -> Exit:
    """Waits for the database, then brings it to this code's revision; one that is ahead is left as it is."""
    schema = Schema(settings)
    reached = _wait_until(schema, lambda level: level is not Level.OUT_OF_REACH, timeout_seconds)
    if reached is not Exit.OK or schema.look()[0] in _READY:
        return reached
    command.upgrade(schema.config, "head")
    level, sentence = schema.look()
    say(_capital(sentence))
    return Exit.OK if level in _READY else Exit.FAILED


def _wait_until(schema: Schema, enough: Callable[[Level], bool], timeout_seconds: float) -> Exit:
    deadline = time.monotonic() + timeout_seconds
    said, say_again = "", 0.0
    while True:
        level, sentence = schema.look()
        if enough(level):
            say(_capital(sentence))
            return Exit.OK
        now = time.monotonic()
        if now >= deadline:
            say(f"Gave up after {timeout_seconds:g} s: {sentence}.")
            return Exit.UNREACHABLE
        if sentence != said or now >= say_again:
            advice = "; `python -m app migrate` brings it there" if level is Level.BEHIND else ""
            say(f"Waiting: {sentence}{advice}.")
            said, say_again = sentence, now + _SAY_AGAIN_SECONDS
        time.sleep(min(_LOOK_SECONDS, deadline - now))


def _capital(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}."
