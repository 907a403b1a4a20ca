"""The script that the benchmarks compare with: ``plain_training.py``, and its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.lifecycle import ROOT

SETTINGS = {"batch_size": 8, "learning_rate": 1e-3, "max_length": 64, "logging_steps": 10}
"""The training's settings, as a request has them."""
QUIET = {"eval_strategy": "no", "save_strategy": "no"}
ALL_ROWS = {"eval_split": 0.0, "train_split": 1.0}
SCRIPT = [sys.executable, str(ROOT / "benchmarks" / "plain_training.py")]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
_ARGUMENTS = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": SETTINGS["batch_size"],
    "learning_rate": SETTINGS["learning_rate"],
    "max_length": SETTINGS["max_length"],
    "logging_steps": SETTINGS["logging_steps"],
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


@contextmanager
def specification(
    model: Path, rows: Path, steps: int, lines_per_s: int = 0
) -> Iterator[tuple[Path, Path]]:
    """A specification for the script, and the file into which it writes its steps."""
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as name:
        folder = Path(name)
        spec = {
            "model": str(model),
            "dataset": str(rows),
            "output": str(folder / "output"),
            "steps_file": str(folder / "steps"),
            "arguments": {**_ARGUMENTS, "max_steps": steps},
            "print_lines_per_s": lines_per_s,
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        yield folder / "spec.json", folder / "steps"


def steps_in(path: Path) -> list[tuple[float, int]]:
    """(time, number) of every step that the script has made."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(float(at), int(step)) for at, step in map(str.split, lines)]


@contextmanager
def imported() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything, and forks for each specification it is told of."""
    with subprocess.Popen(
        [*SCRIPT, "--imported"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **ONE_THREAD},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "imported\n"
        yield process
        process.communicate()


def train_in_fork(fork: subprocess.Popen[str], spec: Path) -> None:
    """Have the :func:`imported` process train by a specification."""
    assert fork.stdin is not None
    fork.stdin.write(f"{spec}\n")
    fork.stdin.flush()
