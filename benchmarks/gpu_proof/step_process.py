"""Step's process: runs one step with a limit; whatever happens in it, rows come of it.

Its rows go into a file, one JSON line each, as it finds them, so that a step that is ended keeps
what it has measured. What it prints is shown where it fails.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gpu_proof.carried import ROOT
from benchmarks.gpu_proof.plan import Step
from benchmarks.gpu_proof.row import Row
from benchmarks.gpu_proof.scene import Scene
from benchmarks.gpu_proof.sizes import size_here
from trainyard.child_process import dying_with_us, python_module

END_S = 8.0
"""For a step that is to end to take down its services."""
_TAIL_LINES = 40


def run(step: Step, scene: Scene, limit_s: float) -> tuple[list[dict[str, Any]], str]:
    """Its rows, and the last lines that it printed if it failed."""
    files = scene.work / f"{step.name}.rows", scene.work / f"{step.name}.log"
    command = python_module(
        "benchmarks.gpu_proof.step_process", step.name, step.module, str(scene.work)
    )
    with files[1].open("wb") as output:
        process = subprocess.Popen(
            dying_with_us(command),
            cwd=ROOT,
            env={**os.environ, **scene.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, who end the step in order
        )
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process, scene.work)
    rows = _rows_in(files[0])
    failed = any(row["state"] == "failed" for row in rows)
    if code != 0 and not failed:
        ended = (
            f"was ended after {limit_s:.0f} s" if code is None else f"ended with exit code {code}"
        )
        row = Row(step.name, state="failed", note=f"its process {ended}")
        rows.append(row.as_json(step.name, scene.size))
        failed = True
    tail = files[1].read_text(errors="replace").splitlines()[-_TAIL_LINES:] if failed else []
    return rows, "\n".join(tail)


def _end(process: subprocess.Popen[bytes], work: Path) -> None:
    """End it, and whatever of it is left: all that takes its temporary files from ``work``."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    left = [other for other in psutil.process_iter() if _takes_files_from(other, work)]
    for other in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            other.kill()
    psutil.wait_procs(left, END_S)


def _takes_files_from(process: psutil.Process, work: Path) -> bool:
    try:
        return bool(process.environ().get("TMPDIR") == str(work))
    except psutil.Error:
        return False


def _rows_in(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def main(arguments: Sequence[str]) -> int:
    """``NAME MODULE WORK``: run a step in this process."""
    name, module, work = arguments
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scene = Scene(Path(work), size_here())
    with (scene.work / f"{name}.rows").open("a", buffering=1) as file:
        try:
            for row in importlib.import_module(module).run(scene):
                file.write(json.dumps(row.as_json(name, scene.size)) + "\n")
        except Exception as error:  # a step that fails is a row, and the others go on
            traceback.print_exc()
            why = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            row = Row(name, state="failed", note=why)
            file.write(json.dumps(row.as_json(name, scene.size)) + "\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
