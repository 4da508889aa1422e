"""The workflows of public CI: what they run is here, and what they take from elsewhere is pinned."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT

_GITHUB = PROJECT / ".github"
FILES = sorted(_GITHUB.glob("*/*.yml")) + sorted(_GITHUB.glob("actions/*/action.yml"))

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(_GITHUB)))


def values(node: Any, key: str) -> Iterator[Any]:
    """What stands at a key, however deep."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(node, list):
        for item in node:
            yield from values(item, key)


def commands(file: Path) -> list[str]:
    return [command for command in values(yaml.safe_load(file.read_text()), "run") if isinstance(command, str)]


@each_file
def test_what_a_workflow_takes_from_elsewhere_is_pinned_and_what_it_takes_from_here_is_there(file: Path) -> None:
    for used in values(yaml.safe_load(file.read_text()), "uses"):
        if used.startswith("./"):
            assert (PROJECT / used / "action.yml").exists(), used
        else:
            assert re.search(r"@[0-9a-f]{40}$", used), used


@each_file
def test_what_a_workflow_runs_is_there(file: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    for command in commands(file):
        for target in re.findall(r"\bmake ([a-z-]+)", command):
            assert target in targets
        for path in re.findall(r"(?:\.ci|tests)/[\w./]+", command):
            assert (PROJECT / path).exists(), path


def test_every_journey_is_made_by_a_workflow() -> None:
    made = {command for file in FILES for command in commands(file)}
    journeys = {f".ci/{file.name}" for file in PROJECT.glob(".ci/*_journey.sh")}
    assert len(journeys) >= 3
    assert journeys <= made


def test_the_nightly_workflow_has_parts_away_for_two_minutes_and_injects_faults_on_both_brokers() -> None:
    jobs = yaml.safe_load((_GITHUB / "workflows/nightly.yml").read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"] if "env" in step]
    assert {name: value for step in steps for name, value in step["env"].items()} == {
        "ABSENT_SECONDS": "120",
        "SOAK_SECONDS": "600",
        "SOAK_BROKER": "both",
    }
    # A name that nobody reads would be ignored.
    read = "".join(
        file.read_text() for folder in ("integration", "faults") for file in PROJECT.glob(f"tests/{folder}/*.py")
    )
    for step in steps:
        for name in step["env"]:
            assert f'environ.get("{name}"' in read, name
