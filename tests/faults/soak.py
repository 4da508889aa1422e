"""``make soak``: faults for as long as one likes, and figures at the end.

SOAK_SECONDS (1800) for each broker. SOAK_FAULT_SECONDS (20) between two faults. SOAK_BROKER: rabbitmq, redis or both.
SOAK_SEED: what a former run has printed, for the same faults in the same order. One that cannot come just then, since
another one is there, comes later.
"""

import json
import logging
import os
import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from random import Random, SystemRandom

from tests.conftest import PROJECT
from tests.faults.engine import Engine, Figures, decks
from tests.faults.invariants import tracebacks
from tests.faults.system import open_system

_BROKERS = {"rabbitmq": ("rabbitmq",), "redis": ("redis",), "both": ("rabbitmq", "redis")}


def soak(broker: str, seconds: float, every_seconds: float, seed: int) -> Figures:
    """Leaves the logs of all roles and the figures in var/soak/<broker>."""
    kept = PROJECT / "var" / "soak" / broker
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    with open_system(broker, kept, seed) as system:
        figures = Engine(system, seed).run(decks(Random(seed), broker), every_seconds, seconds)
        logged = tracebacks(system)
    told = {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "seconds": seconds,
        "fault_every_seconds": every_seconds,
        **asdict(figures),
        "tracebacks": dict(logged.most_common()),
    }
    (kept / "figures.json").write_text(json.dumps(told, indent=2) + "\n")
    (kept / "figures.md").write_text(_row(figures, seconds, every_seconds) + "\n")
    return figures


def _row(figures: Figures, seconds: float, every_seconds: float) -> str:
    """A row of the README's table of the last runs."""
    middle, most = figures.recovered()
    cells = (
        {"rabbitmq": "RabbitMQ", "redis": "Redis"}[figures.broker],
        f"{datetime.now(UTC):%Y-%m-%d}, {seconds / 60:g} min, every {every_seconds:g} s",
        f"{sum(figures.injected.values())} of {len(figures.injected)} kinds",
        f"{figures.mirrored.rows:,}",
        figures.mirrored.lost,
        figures.mirrored.doubled,
        f"{sum(figures.runs.values()):,} in {figures.chunks:,} chunks",
        figures.runs.get("failed", 0),
        sum(figures.dead_letters.values()),
        f"{middle:.1f}, {most:.1f}",
        len(figures.broken),
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for noisy in ("testcontainers", "alembic", "urllib3", "docker"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    seconds, every = float(os.environ.get("SOAK_SECONDS", "1800")), float(os.environ.get("SOAK_FAULT_SECONDS", "20"))
    asked = os.environ.get("SOAK_BROKER", "both")
    if asked not in _BROKERS:
        sys.exit(f"SOAK_BROKER={asked!r} is wrong: choose one of {', '.join(_BROKERS)}")
    seed = int(os.environ.get("SOAK_SEED") or SystemRandom().randrange(10**6))
    print(f"SOAK_SEED={seed} repeats this order of faults", flush=True)
    all_figures = [soak(broker, seconds, every, seed) for broker in _BROKERS[asked]]
    for figures in all_figures:
        for sentence in figures.broken:
            print(f"{figures.broker}: {sentence}")
    print("; ".join(figures.line() for figures in all_figures))
    return 1 if any(figures.broken for figures in all_figures) else 0


if __name__ == "__main__":
    sys.exit(main())
