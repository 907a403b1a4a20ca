"""Turns of a job's life, on real processes: how long each takes.

    pause          request, to `paused` in the store (checkpoint written and verified, slot free)
    resume_warm    request, to the end of the first new step, in the parked process
    resume_cold    the same from the checkpoint, in a process forked anew
    cancel_hung    a training stuck in native code, deaf to SIGTERM, with children in sessions of
                   their own: request, to the last process gone; from there to the next job's start
    recover        kill -9 of a worker's main process while another slot idles (lease 5 s), to
                   `running` again

The model is tiny, so that what is measured is Trainyard and not the training. The baseline of the
resumes is a full restart as a plain worker does it: a script that imports, loads the model and its
checkpoint, tokenises and makes a step.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Measure, Target
from tests.support.models import make_tiny_model
from tests.support.stack import Stack, kill, write_rows
from tests.support.waiting import wait_for
from worker.slot_process.client import wait_gone

ROOT = Path(__file__).resolve().parents[1]
POLL_S = 0.002
LEASE_S = 5
_REST_S = 0.3
"""Between a pause and its resume: what is reported of the pause is delivered, and takes nothing of
the resume's time."""
_TRAINING = {"eval_strategy": "no", "save_steps": 100_000, "logging_steps": 1000}
_PLAIN = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "max_length": 64,
    "save_strategy": "steps",
    "report_to": "none",
}
_DATA = {"eval_split": 0.0, "train_split": 1.0}

Figures = dict[str, list[float]]


class Bench:
    """A stack, and the steps of its trainings."""

    def __init__(self, stack: Stack, steps: Path) -> None:
        self.stack = stack
        self._steps = steps

    def steps(self, job_id: str) -> list[tuple[float, int]]:
        """(time, number) of every step that the job has made."""
        path = self._steps / job_id
        lines = path.read_text().splitlines() if path.exists() else []
        return [(float(at), int(step)) for at, step in map(str.split, lines)]

    def first_step_after(self, job_id: str, moment: float) -> float:
        """When the first step after ``moment`` had ended."""
        found: float = wait_for(
            f"{job_id} makes a step",
            lambda: next((at for at, _ in self.steps(job_id) if at > moment), None),
        )
        return found

    def run_until_step(self, job_id: str, step: int) -> None:
        """Start a job without end, and wait for a step of it."""
        self.submit(job_id)
        wait_for(f"{job_id} runs", lambda: len(self.steps(job_id)) >= step)

    def submit(self, job_id: str) -> None:
        self.stack.submit(job_id, steps=1_000_000, training=_TRAINING, data=_DATA)

    def seconds(self, job_id: str, what: str) -> float:
        """What ``leave`` (the GPU) or ``come_back`` took in its last pause."""
        return float((self._steps / f"{job_id}.{what}").read_text().split()[-1])

    def wait_status(self, job_id: str, status: str) -> float:
        """When the store says so."""
        deadline = time.monotonic() + 120
        while self.stack.redis.hget(f"trainyard:job:{job_id}", "status") != status:
            assert time.monotonic() < deadline, f"{job_id} is not {status}"
            time.sleep(POLL_S)
        return time.monotonic()

    def end(self, job_id: str) -> None:
        self.stack.bridge.cancel(job_id, force=True)
        self.wait_status(job_id, "cancelled")


@contextmanager
def bench(slots: int = 1, **settings: str) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as steps:
        path = [str(ROOT / "benchmarks" / "hooks"), os.environ.get("PYTHONPATH", "")]
        hooks = {"PYTHONPATH": os.pathsep.join(filter(None, path)), "BENCH_STEPS": steps}
        with Stack(slots=slots, **hooks, **settings) as stack:
            yield Bench(stack, Path(steps))


# ---------------------------------------------------------------- what is measured


def pause_and_resume(runs: int, how: str, **settings: str) -> Figures:
    """Pause a running job, resume it; ``how`` is the sentence of the start that is expected."""
    figures: Figures = {"pause": [], "resume": [], "step": []}
    with bench(**settings) as on:
        for number in range(runs):
            job_id = f"paused-{number}"
            on.run_until_step(job_id, 20)
            asked = time.monotonic()
            on.stack.bridge.pause(job_id)
            figures["pause"].append(on.wait_status(job_id, "paused") - asked)
            figures["step"].append(_median_step_s(on.steps(job_id)))
            time.sleep(_REST_S)
            asked = time.monotonic()
            on.stack.bridge.resume(job_id)
            figures["resume"].append(on.first_step_after(job_id, asked) - asked)
            wait_for(f"it started {how}", lambda job_id=job_id: how in on.stack.log(job_id))
            on.end(job_id)
    return figures


def _median_step_s(steps: list[tuple[float, int]]) -> float:
    times = [at for at, _ in steps]
    return statistics.median(b - a for a, b in itertools.pairwise(times))


def pause(full: bool = False) -> list[Measure]:
    figures = pause_and_resume(_runs(full), "(preloaded)", PARK_SECONDS="0")
    step_s = statistics.median(figures["step"])
    note = f"one step takes {step_s:.3f} s"
    return [Measure("pause", "s", figures["pause"], note=note)]


def resume_warm(full: bool = False) -> list[Measure]:
    figures = pause_and_resume(_runs(full), "(parked before, goes on)")
    return _resumed("resume_warm", figures, limit_s=0.5, times_faster=20)


def resume_cold(full: bool = False) -> list[Measure]:
    how = "Resuming from the checkpoint of step"
    figures = pause_and_resume(_runs(full), how, PARK_SECONDS="0")
    return _resumed("resume_cold", figures, limit_s=1.0, times_faster=None)


def _resumed(
    name: str, figures: Figures, *, limit_s: float, times_faster: float | None
) -> list[Measure]:
    """The time beside its target, and how many times faster than a restart."""
    step_s = statistics.median(figures["step"])
    target = Target("value", "<=", limit_s + step_s)
    note = f"{limit_s:g} s and one step of {step_s:.3f} s"
    restart = Target("ratio", ">=", times_faster) if times_faster else None
    resume = figures["resume"]
    baseline = [full_restart() for _ in resume]
    return [
        Measure(name, "s", resume, target=target, note=note),
        Measure(
            f"{name}_vs_restart",
            "s",
            resume,
            baseline,
            "imports, model, checkpoint, tokenising, one step",
            restart,
            inverse=True,
        ),
    ]


def full_restart() -> float:
    """Seconds from the start of a plain script to the end of its first step after a checkpoint."""
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as name:
        folder = Path(name)
        make_tiny_model(folder / "model")
        spec = {
            "model": str(folder / "model"),
            "dataset": str(write_rows(folder / "rows.jsonl", 64)),
            "output": str(folder / "output"),
            "steps_file": str(folder / "steps"),
            "arguments": {**_PLAIN, "max_steps": 2, "save_steps": 2},
        }
        _run_plain(folder, spec)
        (folder / "steps").unlink()
        spec["arguments"] = {**_PLAIN, "max_steps": 3, "save_steps": 100}
        spec["resume"] = str(folder / "output" / "checkpoint-2")
        started = time.monotonic()
        _run_plain(folder, spec)
        return float((folder / "steps").read_text().split()[0]) - started


def _run_plain(folder: Path, spec: dict[str, object]) -> None:
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, str(ROOT / "benchmarks" / "plain_training.py")]
    subprocess.run([*command, str(folder / "spec.json")], check=True, capture_output=True)


def _runs(full: bool) -> int:
    return 15 if full else 5


def cancel_hung(full: bool = False) -> list[Measure]:
    figures: Figures = {
        "request to last process gone": [],
        "last process gone to next job claimed": [],
        "last process gone to next job's first step": [],
    }
    with bench() as on:
        for number in range(_runs(full)):
            hung, following = f"hung-{number}", f"next-{number}"
            on.run_until_step(hung, 3)
            wait_for("its children live", lambda: len(on.stack.training_processes()) >= 6)
            on.submit(following)
            processes = [os.pidfd_open(p.pid) for p in on.stack.training_processes()]
            asked = time.monotonic()
            on.stack.bridge.cancel(hung, force=True)
            gone = wait_dead(processes)
            claimed = on.wait_status(following, "running")
            first_step = on.first_step_after(following, gone)
            for name, value in zip(
                figures, (gone - asked, claimed - gone, first_step - gone), strict=True
            ):
                figures[name].append(value)
            on.end(following)
    names = ("cancel_hung", "cancel_hung_next_claimed", "cancel_hung_next_step")
    limits_s = (0.2, 1.0, None)
    return [
        Measure(
            name, "s", values, target=Target("value", "<=", limit) if limit else None, note=what
        )
        for name, limit, (what, values) in zip(names, limits_s, figures.items(), strict=True)
    ]


def wait_dead(pidfds: list[int]) -> float:
    """When the last of the processes had died (to within a poll, where the request was slow)."""
    died = 0.0
    for pidfd in pidfds:
        select.select([pidfd], [], [], 60)
        died = time.monotonic()
        os.close(pidfd)
    return died


def recover(full: bool = False) -> list[Measure]:
    figures: Figures = {"kill to running again": [], "kill to end of first new step": []}
    with bench(slots=2, LEASE_SECONDS=str(LEASE_S)) as on:
        for number in range(_runs(full)):
            job_id = f"crashed-{number}"
            on.run_until_step(job_id, 20)
            slot = int(on.stack.store.jobs([job_id])[0].slot.rpartition("-")[2])
            pid = on.stack.workers[slot].pid
            assert pid is not None
            killed = time.monotonic()
            kill(pid)
            key = f"trainyard:job:{job_id}"
            wait_for(
                "it runs again",
                lambda key=key: on.stack.redis.hmget(key, "status", "attempt") == ["running", "2"],
            )
            figures["kill to running again"].append(time.monotonic() - killed)
            again = on.first_step_after(job_id, killed + figures["kill to running again"][-1])
            figures["kill to end of first new step"].append(again - killed)
            on.end(job_id)
            on.stack.workers[slot].start()
            wait_for("both slots live", lambda: on.stack.slots_alive() == 2)
            wait_for("its children too", lambda: len(on.stack.attempt_processes("pool child")) == 2)
            for socket in on.stack.slot_sockets():
                wait_gone(socket, "none:1", 60)  # it answers when it has imported torch
    target = Target("value", "<=", LEASE_S + 5)
    running, step = figures.values()
    note = f"lease of {LEASE_S} s"
    return [
        Measure("recover", "s", running, target=target, note=f"to running again, {note}"),
        Measure("recover_step", "s", step, note=f"to the end of the first new step, {note}"),
    ]
