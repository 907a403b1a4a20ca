"""Proof: all steps one after the other, their table and their JSON."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof import step_process
from benchmarks.gpu_proof.plan import STEPS, TOTAL_S, Step
from benchmarks.gpu_proof.row import Row, table
from benchmarks.gpu_proof.scene import Scene
from benchmarks.gpu_proof.sizes import Size
from benchmarks.measure import machine
from worker.machine.gpu import gpu_view


def prove(size: Size, out: Path, steps: Sequence[Step] = STEPS) -> list[dict[str, Any]]:
    """Run the steps and write ``results.json`` and ``table.txt`` into ``out``; returns the rows.

    All other files lie in a temporary folder, which is removed however this ends.
    """
    rows: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    ends = time.monotonic() + TOTAL_S
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu-proof-", ignore_cleanup_errors=True) as folder:
        scene = Scene(Path(folder), size)
        for step in steps:
            began = time.monotonic()
            found, tail = _run(step, scene, ends - began)
            rows += found
            if tail:
                failures[step.name] = tail
            print(f"{step.name}: {time.monotonic() - began:.0f} s", flush=True)
            _write(out, size, rows, failures)
    return rows


def _run(step: Step, scene: Scene, left_s: float) -> tuple[list[dict[str, Any]], str]:
    missing = step.missing()
    if not missing and left_s > 0:
        return step_process.run(step, scene, min(step.limit_s, left_s))
    if missing:
        row = Row(step.name, state="left out", note=f"not installed: {', '.join(missing)}")
    else:
        row = Row(step.name, state="failed", note=f"no time was left of {TOTAL_S:.0f} s")
    return [row.as_json(step.name, scene.size)], ""


def _write(
    out: Path, size: Size, rows: Sequence[dict[str, Any]], failures: Mapping[str, str]
) -> None:
    whole = {
        "machine": {**machine(), "gpu": size.machine, "driver": gpu_view().driver},
        "results": rows,
        "printed_by_failed_steps": failures,
    }
    (out / "results.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    (out / "table.txt").write_text(table(rows))
