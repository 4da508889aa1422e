"""What commands print: sentences for people on standard error, answers on standard output."""

import click


def say(sentence: str) -> None:
    """A sentence for a person, out of the way of what a script reads."""
    click.echo(sentence, err=True)
