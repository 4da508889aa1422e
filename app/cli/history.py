"""Looking back at runs from a shell."""

import json

import click

from app.cli.exit_codes import Exit
from app.cli.reading import Reader
from app.cli.tables import moment, print_table
from app.queries.run_history import RunFilter, list_runs
from app.settings import Settings

_HEADS = ("id", "task", "trigger", "status", "created (UTC)", "finished (UTC)", "rows", "removed", "why")


def show_runs(settings: Settings, wanted: RunFilter, limit: int, *, as_json: bool) -> Exit:
    """Prints runs, the newest first."""
    runs = Reader(settings).all(list_runs(wanted, limit=limit))
    if as_json:
        click.echo(json.dumps(runs, ensure_ascii=False))
        return Exit.OK
    rows = [
        (
            run["id"],
            run["task"],
            run["trigger"],
            "stale" if run["stale"] else run["status"],
            moment(run["created_at"]),
            moment(run["finished_at"]),
            run["rows_done"] if run["rows_total"] is None else f"{run['rows_done']}/{run['rows_total']}",
            run["removed"],
            run["error_message"] or run["note"],
        )
        for run in runs
    ]
    print_table(_HEADS, rows)
    return Exit.OK
