"""The figures in the documents are those that were measured last."""

import pytest

from tests.conftest import PROJECT


@pytest.mark.parametrize(
    ("document", "results"), [("README.md", "compare"), ("docs/growth.md", "scale"), ("docs/growth.md", "growth")]
)
def test_a_document_shows_the_figures_that_were_measured(document: str, results: str) -> None:
    shown = (PROJECT / document).read_text().splitlines()
    measured = (PROJECT / "benchmarks" / "results" / f"{results}.md").read_text().splitlines()

    rows = [line for line in measured if line.startswith("|")]
    assert len(rows) > 3
    assert [row for row in rows if row not in shown] == []
