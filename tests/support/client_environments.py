"""Environments of clients that others make: fresh ones, from the registries, in a test's folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import missing
from tests.support.paths import REPOSITORY

STORIES = REPOSITORY / "tests/support/generated_clients"
"""What such a client goes through: run in its environment, it says "done"."""


def run(command: list[str | Path], folder: Path) -> str:
    """What the command says; fails with the end of it if it fails."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def python_with(folder: Path, *packages: str) -> Path:
    """The Python of a new environment with the packages."""
    run([sys.executable, "-m", "venv", "own"], folder)
    python = folder / "own/bin/python"
    command = [python, "-m", "pip", "install", "--quiet", *packages]
    if subprocess.run(command, timeout=600, check=False).returncode:
        missing(f"a registry with {' and '.join(packages)}")
    return python


def node_with(folder: Path, *packages: str) -> None:
    """Make the folder a package of Node's that has the others."""
    (folder / "package.json").write_text(json.dumps({"private": True, "type": "module"}))
    quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    run(["npm", "install", *quiet, *packages], folder)
