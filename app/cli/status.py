"""How things stand: how fresh the data is, what is lacking, what waits in the broker."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from kombu.exceptions import KombuError

from app.celery_app import JOBS_QUEUE, create_celery
from app.cli.exit_codes import Exit
from app.cli.output import say
from app.cli.reading import Reader
from app.cli.tables import moment, print_table
from app.queries.overview import overview, totals
from app.records import Job
from app.services.ticks import schedules
from app.settings import Settings
from app.worker.bootsteps import DEAD_QUEUE
from app.worker.queues import Queues

_MOST_COUNTED = 100_000
_HEADS = ("task", "last success (UTC)", "next tick (UTC)", "open run", "lacking", "known since (UTC)")


def show_status(settings: Settings, *, as_json: bool) -> Exit:
    """Prints the state of data, jobs and broker; UNREACHABLE when the broker does not tell its own."""
    reader = Reader(settings)
    standing = reader.one(totals(_MOST_COUNTED))
    standing["jobs"] = reader.all(overview(_MOST_COUNTED))
    for job in standing["jobs"]:
        tick = schedules(settings)[Job(job["task"])].next(datetime.fromisoformat(standing["now"]))
        job["next_tick"] = tick.isoformat() if tick else None
    standing["queues"] = _queues(settings)
    if as_json:
        click.echo(json.dumps(standing, ensure_ascii=False))
    else:
        _print(standing)
    return Exit.UNREACHABLE if standing["queues"] is None else Exit.OK


def _queues(settings: Settings) -> dict[str, Any] | None:
    app = create_celery(settings)
    connection = app.connection_for_read()
    queues = Queues(app)
    try:
        depths = queues.depths([JOBS_QUEUE.name, DEAD_QUEUE.name])
    except (*connection.connection_errors, *connection.channel_errors, KombuError, OSError) as error:
        say(f"The broker is out of reach: {error}.")
        return None
    finally:
        queues.close()
    return {name: asdict(depth) for name, depth in depths.items()}


def _print(standing: dict[str, Any]) -> None:
    about = "about " if standing["is_estimate"] else ""
    click.echo(f"{about}{standing['users']} users, {_counted(standing['removed'])} of them no longer at the source")
    for name, depth in (standing["queues"] or {}).items():
        consumers = "" if depth["consumers"] is None else f", {depth['consumers']} consumers"
        click.echo(f"{depth['messages']} messages wait in {name}{consumers}")
    click.echo()
    rows = [
        (
            job["task"],
            moment(job["last_success_at"]) or "never",
            moment(job["next_tick"]) or "never",
            f"{job['open_id']} {'stale' if job['open_stale'] else job['open_status']}" if job["open_id"] else None,
            _counted(job["lacking"]),
            moment(job["lacking_since"]),
        )
        for job in standing["jobs"]
    ]
    print_table(_HEADS, rows)
    for job in standing["jobs"]:
        if (job["last_failure_at"] or "") > (job["last_success_at"] or ""):
            click.echo(f"\nrun {job['last_failure_id']} of {job['task']} failed at {moment(job['last_failure_at'])}:")
            click.echo(f"  {job['last_failure_error_message']}")


def _counted(number: int | None) -> str | None:
    return f"{_MOST_COUNTED} or more" if number == _MOST_COUNTED else None if number is None else str(number)
