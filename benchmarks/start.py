"""From a job's start to the end of its first step.

start    `queued` with a free slot to the end of the first step, model and data cached; beside the
         stock trainer in a fork of a process that has imported everything, and beside a script
         from nothing
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.lifecycle import bench
from benchmarks.measure import Measure, Target
from benchmarks.plain import (
    ALL_ROWS,
    ONE_THREAD,
    QUIET,
    SCRIPT,
    SETTINGS,
    imported,
    specification,
    steps_in,
    train_in_fork,
)
from tests.support.stack import write_rows
from tests.support.waiting import wait_for


def start(full: bool = False) -> list[Measure]:
    """To the end of the first step, and where the time goes, by phase."""
    ours: list[float] = []
    in_fork: list[float] = []
    script: list[float] = []
    phases: dict[str, list[float]] = {}
    with bench(**ONE_THREAD) as on, imported() as fork:
        rows = write_rows(on.stack.datasets / "bench.jsonl", 400)
        model = on.stack.models / "tiny"
        for number in range(16 if full else 6):
            job_id = f"start-{number}"
            asked = time.monotonic()
            on.stack.submit(
                job_id,
                steps=3,
                dataset=rows.name,
                training={**SETTINGS, **QUIET},
                data=ALL_ROWS,
            )
            took = on.first_step_after(job_id, asked) - asked
            on.wait_status(job_id, "completed")
            forked, fresh = _forked(fork, model, rows), _fresh(model, rows)
            if number:  # the first of each fills the caches
                ours.append(took)
                in_fork.append(forked)
                script.append(fresh)
                seconds = on.stack.bridge.status(job_id)["result"]["seconds"]
                for name, value in seconds.items():
                    phases.setdefault(name, []).append(value)
    more = [b - a for a, b in zip(in_fork, ours, strict=True)]
    faster, at_most = Target("ratio", ">=", 5), Target("value", "<=", 0.8)
    return [
        Measure("start", "s", ours, in_fork, "imported, then forked", at_most),
        Measure("start_more", "s more", more, target=Target("value", "<=", 0.5)),
        Measure("start_vs_script", "s", ours, script, "a fresh script", faster, inverse=True),
        *(Measure(f"start_{name}", "s", values) for name, values in phases.items()),
    ]


def _forked(fork: subprocess.Popen[str], model: Path, rows: Path) -> float:
    with specification(model, rows, 3) as (spec, steps):
        asked = time.monotonic()
        train_in_fork(fork, spec)
        wait_for("it has trained", lambda: len(steps_in(steps)) == 3)
        return steps_in(steps)[0][0] - asked


def _fresh(model: Path, rows: Path) -> float:
    with specification(model, rows, 3) as (spec, steps):
        asked = time.monotonic()
        subprocess.run([*SCRIPT, str(spec)], check=True, capture_output=True)
        return steps_in(steps)[0][0] - asked
