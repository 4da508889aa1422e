"""The command line: ``python -m app``. Each command imports what it alone needs, so that none waits for another's."""

import click

from app.cli.exit_codes import Exit
from app.cli.output import say
from app.errors import ConfigurationError
from app.settings import Settings, load_settings


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


def _settings(context: click.Context) -> Settings:
    try:
        return load_settings()
    except ConfigurationError as error:
        say(str(error))
        context.exit(Exit.USAGE)


if __name__ == "__main__":
    main(prog_name="python -m app")
