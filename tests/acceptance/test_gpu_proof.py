"""The GPU proof as a whole, in its tiny form on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_a_gpu_every_step_runs_on_the_cpu(tmp_path: Path) -> None:
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    temporary.mkdir()
    environment = {"CUDA_VISIBLE_DEVICES": "", "OUT": str(out), "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_proof"],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (out / "results.json").read_text()
    rows = json.loads((out / "results.json").read_text())["results"]
    assert {row["machine"] for row in rows} == {"cpu, tiny"}
    assert not any(row["met"] for row in rows)
    measured = {(row["step"], row["what"]) for row in rows if row["state"] == "measured"}
    for kind in ("full", "LoRA"):
        for recipe in ("plain", "as the worker chooses", "packed"):
            assert ("recipes", f"{kind}, {recipe}: rate") in measured
        assert ("park", f"{kind}: weights against a straight run's") in measured
    assert {
        ("recipes", "trial on two rows"),
        ("recipes", "checkpoint"),
        ("cancel", "request to memory back"),
        ("nvml", "GPUs"),
        ("rescue", "out-of-memory rescue"),
    } <= measured
    libraries = [row["note"] for row in rows if row["step"] == "libraries"]
    assert len(libraries) == 2
    assert (out / "table.txt").read_text() in done.stdout
    assert not list(temporary.iterdir())
