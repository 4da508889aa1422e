"""Rows for a person: columns as wide as what stands in them."""

from collections.abc import Sequence

import click


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [list(heads), *(["" if value is None else str(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def moment(time: str | None) -> str:
    """A time of the JSON to the second, in UTC."""
    return time[:19].replace("T", " ") if time else ""
