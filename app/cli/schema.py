"""Waiting until the database has the tables that this code works with."""

import time
from pathlib import Path

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


def wait(settings: Settings, timeout_seconds: float) -> Exit:
    """OK as soon as the database is at this code's revision or ahead of it; UNREACHABLE when the time is over.

    A database whose revision this code does not know is ahead: during a rollout the version before must start too.
    """
    script = ScriptDirectory.from_config(Config(toml_file=str(_PROJECT / "pyproject.toml")))
    head = script.get_current_head() or ""
    known = {revision.revision for revision in script.walk_revisions()}
    database = Database(settings.database_url.get_secret_value(), pool_size=1)
    deadline = time.monotonic() + timeout_seconds
    said, say_again = "", 0.0
    while True:
        reason = _why_not(database, head, known)
        if reason is None:
            return Exit.OK
        now = time.monotonic()
        if now >= deadline:
            say(f"Gave up after {timeout_seconds:g} s: {reason}.")
            return Exit.UNREACHABLE
        if reason != said or now >= say_again:
            say(f"Waiting: {reason}.")
            said, say_again = reason, now + _SAY_AGAIN_SECONDS
        time.sleep(min(_LOOK_SECONDS, deadline - now))


def _why_not(database: Database, head: str, known: set[str]) -> str | None:
    try:
        with database.reading() as connection:
            found = set(MigrationContext.configure(connection).get_current_heads())
    except DBAPIError as error:
        return f"the database is out of reach ({str(error.orig).strip().splitlines()[0]})"
    if head in found:
        say(f"The database is at revision {head}, which this code works with.")
        return None
    if ahead := found - known:
        say(f"The database is at revision {', '.join(sorted(ahead))}, ahead of this code, which goes up to {head}.")
        return None
    at = f"at revision {', '.join(sorted(found))}" if found else "without tables"
    return f"the database is {at} and this code needs {head}; `alembic upgrade head` brings it there"
