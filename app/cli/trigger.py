"""Starting a run from a shell, and waiting for its end."""

import json
import sys
import time
from typing import Any

import click

from app.celery_app import create_celery
from app.cli.exit_codes import Exit
from app.cli.output import say
from app.cli.reading import Reader
from app.errors import ConfigurationError, RunNotStarted
from app.queries.run_history import get_run
from app.records import OPEN, Job, Status, Trigger
from app.services.requests import request_run
from app.settings import Settings

_LOOK_SECONDS = 0.5
_PUBLISH_SECONDS = 2


def trigger(
    settings: Settings, job: Job, batch_size: int | None, *, wait: bool, timeout_seconds: float, as_json: bool
) -> Exit:
    """Starts a run; with ``wait`` goes on until it is over. Prints the run."""
    reader = Reader(settings)
    try:
        run_id = request_run(create_celery(settings, _PUBLISH_SECONDS).context, job, Trigger.CLI, batch_size)
    except ConfigurationError as error:
        raise click.UsageError(f"{error}.") from None
    except RunNotStarted as error:
        _show(reader.one(get_run(error.run_id)), as_json=as_json)
        return Exit.UNREACHABLE
    run = reader.one(get_run(run_id))
    if run["status"] in OPEN:
        say(f"run {run_id} of {job} is {run['status']}")
    if wait and run["status"] in OPEN:
        run = _watch(reader, run, timeout_seconds)
    _show(run, as_json=as_json)
    return _exit_code(run, waited=wait)


def _watch(reader: Reader, run: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
    """Waits for the end of the run, with a bar on a terminal."""
    deadline = time.monotonic() + timeout_seconds
    with click.progressbar(
        length=1,
        label=f"run {run['id']}",
        show_eta=False,
        show_pos=True,
        item_show_func=_in_words,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as bar:
        while run["status"] in OPEN and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            run = reader.one(get_run(run["id"]))
            bar.pos = run["rows_done"]
            bar.length = max(run["rows_total"] or 0, bar.pos, 1)
            bar.current_item = run
            bar.render_progress()
    return run


def _in_words(run: dict[str, Any] | None) -> str | None:
    if run is None:
        return None
    if run["stale"]:
        return "waits for a worker"
    waits = f", waits: {run['error_message']}" if run["error_message"] else ""
    return f"{run['status']}{waits}"


def _show(run: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(run, ensure_ascii=False))
        return
    if run["status"] in OPEN:
        return
    counts = ", ".join(f"{run[name]} {name}" for name in _COUNTS if run[name])
    click.echo(f"run {run['id']} of {run['task']}: {run['status']}{f' ({counts})' if counts else ''}")
    for sentence in (run["error_message"], run["note"]):
        if sentence:
            say(sentence)


_COUNTS = ("inserted", "updated", "unchanged", "rejected", "missing", "removed")


def _exit_code(run: dict[str, Any], *, waited: bool) -> Exit:
    if run["status"] in OPEN:
        return Exit.UNFINISHED if waited else Exit.OK
    return {Status.SUCCEEDED: Exit.OK, Status.SKIPPED: Exit.SKIPPED}.get(run["status"], Exit.FAILED)
