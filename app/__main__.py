"""The command line: ``python -m app``. Each command imports what it alone needs, so that none waits for another's."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from app.cli.exit_codes import Exit
from app.cli.output import say
from app.errors import BrokerUnavailable, ConfigurationError
from app.records import Job, Status
from app.settings import Settings, load_settings

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API shows it.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """SynergyWay: a mirror of a public API's users, enriched with addresses and credit cards.

    Exit codes: 0 done, 1 the run failed, 2 an option or a setting is wrong, 3 the database or the broker is out of
    reach, 4 skipped because another run of the job is open, 5 not over when the time to wait was.
    """


@main.command()
@click.option("--port", type=int, default=8000, show_default=True, help="The port of the page and the API.")
@click.pass_context
def run(context: click.Context, port: int) -> None:
    """Run the whole service here: SQLite, a broker in files, a sample provider."""
    from app import demo

    context.exit(demo.run(port))


@main.command("wait-for-schema")
@click.option("--timeout", type=click.FloatRange(0), default=300, show_default=True, help="Seconds to wait at most.")
@click.pass_context
def wait_for_schema(context: click.Context, timeout: float) -> None:
    """Wait until the database has the tables that this code works with, or newer ones."""
    from app.cli import schema

    context.exit(schema.wait(_settings(context), timeout))


@main.command()
@click.option("--timeout", type=click.FloatRange(0), default=300, show_default=True, help="Seconds to wait at most.")
@click.pass_context
def migrate(context: click.Context, timeout: float) -> None:
    """Wait for the database and bring its tables to this code's version; newer ones are left as they are."""
    from app.cli import schema

    context.exit(schema.migrate(_settings(context), timeout))


@main.command()
@click.argument("task", metavar="TASK", type=click.Choice([job.value for job in Job]))
@click.option("--batch-size", type=int, help="How many users an enrichment looks up at the most.")
@click.option("--wait", is_flag=True, help="Go on until the run is over.")
@click.option("--timeout", type=click.FloatRange(0), default=3_600, show_default=True, help="Seconds to wait at most.")
@_JSON
@click.pass_context
def trigger(
    context: click.Context, task: str, batch_size: int | None, wait: bool, timeout: float, as_json: bool
) -> None:
    """Start a run of TASK: sync_users, enrich_missing_addresses or enrich_missing_cards."""
    from app.cli.trigger import trigger as start

    with _reachable(context):
        settings = _settings(context)
        context.exit(start(settings, Job(task), batch_size, wait=wait, timeout_seconds=timeout, as_json=as_json))


@main.command()
@click.option("--task", type=click.Choice([job.value for job in Job]), help="Only runs of this job.")
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="How many at the most.")
@_JSON
@click.pass_context
def runs(context: click.Context, task: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """Show runs, the newest first."""
    from app.cli.history import show_runs
    from app.queries.run_history import RunFilter

    wanted = RunFilter(Job(task) if task else None, Status(status) if status else None)
    with _reachable(context):
        context.exit(show_runs(_settings(context), wanted, limit, as_json=as_json))


@main.command()
@_JSON
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show how fresh the data is, what is lacking, and what waits in the broker."""
    from app.cli.status import show_status

    with _reachable(context):
        context.exit(show_status(_settings(context), as_json=as_json))


@contextmanager
def _reachable(context: click.Context) -> Iterator[None]:
    """Says in one line that the database or the broker is out of reach, or without its tables."""
    from sqlalchemy.exc import DBAPIError

    # What there is to say is said below, or printed: log lines would say it twice.
    logging.getLogger("app").addHandler(logging.NullHandler())
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        say(f"The database is out of reach, or has no tables yet: {reason}")
        context.exit(Exit.UNREACHABLE)
    except BrokerUnavailable as error:
        say(f"{error}.")
        context.exit(Exit.UNREACHABLE)


def _settings(context: click.Context) -> Settings:
    try:
        return load_settings()
    except ConfigurationError as error:
        say(str(error))
        context.exit(Exit.USAGE)


if __name__ == "__main__":
    main(prog_name="python -m app")
