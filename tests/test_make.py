"""What make does on a machine that lacks something. Where the tools of ``make check`` are, make has brought them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.lint

# As Debian's python3 without the package python3-venv: it leaves an interpreter, and then it finds no ensurepip.
_WITHOUT_VENV = """#!/bin/sh
case "$1" in -c) exec {python} "$@" ;; esac
{python} -m venv --without-pip "$3"
exit 1
"""


def make_environment(folder: Path, python: Path) -> "subprocess.CompletedProcess[str]":
    """Has make create the environment of the project, elsewhere than in the project."""
    command = ["make", f"VENV={folder}", f"PYTHON={python}", f"{folder}/bin/python"]
    return subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True, timeout=100)


def test_an_environment_that_could_not_be_made_is_named_and_made_once_its_package_is_there(tmp_path: Path) -> None:
    environment, python = tmp_path / "environment", tmp_path / "python"
    python.write_text(_WITHOUT_VENV.format(python=sys.executable))
    python.chmod(0o755)

    failed = make_environment(environment, python)

    assert failed.returncode != 0
    assert "apt install python3-venv" in failed.stderr
    mended = make_environment(environment, Path(sys.executable))
    assert mended.returncode == 0, mended.stderr
    subprocess.run([environment / "bin/python", "-m", "pip", "--version"], check=True, capture_output=True)
