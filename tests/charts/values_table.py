"""The table of values in the chart's README, made of the comments in values.yaml: ``make chart-docs``."""

import json
from collections.abc import Iterator

import yaml

from tests.charts.helm import CHART

README = CHART / "README.md"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
_MARK = "# -- "
_LONGEST = 60


class Undocumented(Exception):
    """A value without a comment that begins with ``# --``."""


def rows() -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning of each value; a map with a comment of its own is one value."""
    text = (CHART / "values.yaml").read_text()
    yield from _walk(yaml.compose(text, yaml.SafeLoader), text.splitlines(), "")


def _walk(node: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[tuple[str, str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        above = lines[key.start_mark.line - 1].strip() if key.start_mark.line else ""
        if above.startswith(_MARK):
            yield name, _shown(value), above.removeprefix(_MARK)
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _walk(value, lines, f"{name}.")
        else:
            raise Undocumented(f"{name} has no comment that begins with '{_MARK.strip()}'")


def _shown(node: yaml.Node) -> str:
    loader = yaml.SafeLoader("")
    text = json.dumps(loader.construct_document(node), ensure_ascii=False)
    return f"`{text}`" if len(text) <= _LONGEST else "see `values.yaml`"


def table() -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for name, shown, meaning in rows():
        cells = (cell.replace("|", "\\|") for cell in (f"`{name}`", shown, meaning))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def written() -> str:
    """The README as it should be."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(written())
