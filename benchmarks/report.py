"""Figures of several rounds as a table, a file and a plot. A ratio is taken within a round: machines are noisy."""

import json
import os
import platform
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).parent / "results"

# What the figures are held against: the least ratio of ours to another way.
GOALS = {
    ("sync, 100 a page", "limit"): 0.6,
    ("sync, 500 a page", "limit"): 0.6,
    ("sync again, 100 a page", "limit"): 0.6,
    ("sync again, 500 a page", "limit"): 0.6,
    ("enrichment, 100 a page", "usual"): 20.0,
    ("enrichment, 500 a page", "usual"): 20.0,
    ("GET /users?limit=20", "limit"): 0.5,
}


@dataclass
class Figures:
    """By work and way, one figure a round, more being better."""

    unit: dict[str, str] = field(default_factory=dict)
    rounds: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def add(self, work: str, way: str, unit: str, figure: float) -> None:
        self.unit[work] = unit
        self.rounds[work][way].append(figure)

    def ratios(self, work: str, way: str) -> list[float]:
        """Ours to the other way, round by round; empty when the work was not done that way."""
        others = self.rounds[work].get(way, [])
        return [mine / other for mine, other in zip(self.rounds[work]["ours"], others, strict=False)]

    def table(self) -> str:
        """Markdown: medians, and ratios with their lowest and highest."""
        lines = [
            "| work | usual way | ours | limit | ours : usual | ours : limit | goal |",
            "|---|---|---|---|---|---|---|",
        ]
        for work, ways in self.rounds.items():
            cells = [self._figure(work, ways.get(way)) for way in ("usual", "ours", "limit")]
            cells += [_spread(self.ratios(work, way)) for way in ("usual", "limit")]
            lines.append(f"| {work} | {' | '.join(cells)} | {self._goal(work)} |")
        return "\n".join(lines)

    def _figure(self, work: str, figures: list[float] | None) -> str:
        return f"{median(figures):,.0f} {self.unit[work]}" if figures else ""

    def _goal(self, work: str) -> str:
        for (name, way), least in GOALS.items():
            if name == work:
                reached = median(self.ratios(work, way))
                verdict = "reached" if reached >= least else f"missed by {least - reached:.2f}"
                return f"{least:g} of the {way}{' way' if way == 'usual' else ''}: {verdict}"
        return ""


def _spread(ratios: list[float]) -> str:
    if not ratios:
        return ""
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def machine() -> str:
    """What the figures were measured on."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = next((int(line.split()[1]) // 2**20 for line in _lines("/proc/meminfo") if "MemTotal" in line), 0)
    return (
        f"{os.cpu_count()} cores ({model}), {memory} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def write(name: str, title: str, text: str, figures: object) -> None:
    """Prints the text last, and keeps it beside its figures in ``benchmarks/results/``."""
    RESULTS.mkdir(exist_ok=True)
    day = datetime.now(UTC).date().isoformat()
    page = f"# {title}\n\n{day}, {machine()}.\n\n{text}\n"
    (RESULTS / f"{name}.md").write_text(page)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\n{page}", file=sys.stdout, flush=True)


def plot(name: str, figures: Figures) -> None:
    """Bars of the medians as shares of the limit, or of ours where there is no limit, on a logarithmic scale."""
    import matplotlib as mpl  # noqa: PLC0415  # it takes a second, which no measurement should pay for

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "synergyway"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    RESULTS.mkdir(exist_ok=True)
    works = list(figures.rounds)
    shown, axes = plt.subplots(figsize=(9, 0.75 * len(works) + 1.2), layout="constrained")
    colours = {"usual": "#b4b2a9", "ours": "#1d9e75", "limit": "#444441"}
    for row, work in enumerate(works):
        ways = figures.rounds[work]
        whole = median(ways.get("limit") or ways["ours"])
        for place, way in enumerate(way for way in colours if way in ways):
            share = median(ways[way]) / whole
            axes.barh(row + 0.26 * (place - 1), share, 0.24, color=colours[way], label=way if row == 0 else None)
            axes.text(share * 1.03, row + 0.26 * (place - 1), f"{median(ways[way]):,.0f}", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(works)), [f"{work}\n({figures.unit[work]})" for work in works], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("share of the limit (of ours where no limit was measured)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    shown.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
