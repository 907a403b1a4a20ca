"""Proof of steps that fail, take too long, lack a package or are interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from benchmarks.gpu_proof.plan import Step
from benchmarks.gpu_proof.proof import prove
from benchmarks.gpu_proof.row import table
from benchmarks.gpu_proof.sizes import TINY
from tests.support.paths import REPOSITORY
from tests.support.waiting import wait_for

FAILING = Step("failing", "tests.support.proof_steps.failing", 100, ())
ENDLESS = Step("endless", "tests.support.proof_steps.endless", 100, ())
NVML = Step("nvml", "benchmarks.gpu_proof.steps.nvml_figures", 100, ())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; empty again after each test."""
    made = tmp_path / "tmp"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return made


def test_a_failing_step_is_a_row_and_the_others_go_on(tmp_path: Path, folder: Path) -> None:
    rows = prove(TINY, tmp_path / "out", [FAILING, NVML])
    half, failed, gpus = rows
    assert (half["state"], half["value"], half["ratio"]) == ("measured", 3.0, 0.5)
    assert (failed["state"], failed["note"]) == ("failed", "RuntimeError: no luck")
    assert (gpus["step"], gpus["value"]) == ("nvml", 0.0)
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["results"] == rows
    assert "what it printed" in written["printed_by_failed_steps"]["failing"]
    assert (tmp_path / "out" / "table.txt").read_text() == table(rows)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "results.json",
        "table.txt",
    ]
    assert not list(folder.iterdir())


def test_a_step_ends_at_its_limit_and_keeps_what_it_has(tmp_path: Path, folder: Path) -> None:
    step = Step("endless", ENDLESS.module, 5, ())
    *begun, ended = prove(TINY, tmp_path / "out", [step])
    assert (ended["state"], ended["note"]) == ("failed", "its process was ended after 5 s")
    assert not [row for row in begun if psutil.pid_exists(int(row["note"]))]
    assert not list(folder.iterdir())


def test_what_is_not_installed_is_left_out_and_named(tmp_path: Path) -> None:
    step = Step("park", ENDLESS.module, 100, ("no_such_package", "json"))
    (row,) = prove(TINY, tmp_path / "out", [step])
    assert (row["state"], row["note"]) == ("left out", "not installed: no_such_package")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_proof_leaves_nothing(
    number: signal.Signals, code: int, tmp_path: Path, folder: Path
) -> None:
    program = (
        "import signal; from benchmarks.gpu_proof import __main__, plan, proof; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's job ignores it
        f"proof.prove.__defaults__ = ((plan.Step('endless', {ENDLESS.module!r}, 100, ()),),); "
        "raise SystemExit(__main__.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(folder), "OUT": str(tmp_path / "out")},
    )

    def child() -> int | None:
        lines = [line for path in folder.glob("*/*.rows") for line in path.read_text().splitlines()]
        return int(json.loads(lines[0])["note"]) if lines else None

    pid = wait_for("the step has begun", child)
    process.send_signal(number)
    assert process.wait(60) == code
    assert not psutil.pid_exists(pid)
    assert not list(folder.iterdir())
