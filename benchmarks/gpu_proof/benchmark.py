"""Benchmark of the recipes, as one of ``make bench``: no rows where there is no GPU."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.gpu_proof.plan import STEPS
from benchmarks.gpu_proof.proof import prove
from benchmarks.gpu_proof.sizes import size_here
from benchmarks.gpu_proof.steps.recipes import OF_PEAK, TWICE
from benchmarks.measure import Measure

_AIMS = {str(aim): aim for aim in (TWICE, OF_PEAK)}


def recipes(full: bool = False) -> list[Measure]:
    """Rows of the table of all benchmarks."""
    size = size_here()
    if not size.on_gpu:
        return []
    with tempfile.TemporaryDirectory() as out:
        steps = [step for step in STEPS if step.name in ("prepare", "recipes")]
        rows = prove(size, Path(out), steps)
    if failed := [row["note"] for row in rows if row["state"] == "failed"]:
        raise RuntimeError(*failed)
    return [
        Measure(
            f"gpu: {row['what']}",
            row["unit"],
            [row["value"]],
            [row["plain"]] if row["plain"] else [],
            "the plain recipe",
            _AIMS.get(row["aim"]),
            note=row["note"],
        )
        for row in rows
        if row["value"] is not None
    ]
