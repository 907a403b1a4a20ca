"""The example notebook, run cell by cell against a yard as its first lines ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models import make_tiny_model
from tests.support.paths import REPOSITORY
from tests.support.yard import Yard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NOTEBOOK = REPOSITORY / "examples/first_training.ipynb"
THEN = "assert job.status == 'completed'; assert metrics['eval_loss'].notna().sum() > 1"


def test_every_cell_runs(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in cells)
    home = tmp_path / "home"
    make_tiny_model(home / "models" / "tiny_model")
    (home / "datasets").mkdir()
    with Yard(home, tmp_path / "up.log") as yard:
        done = subprocess.run(
            [sys.executable, "-c", "\n\n".join([*code, THEN])],
            env={**os.environ, **yard.environment, "PYTHONPATH": str(REPOSITORY)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "capitals-model" / "adapter_config.json").exists()
