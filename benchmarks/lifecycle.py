"""How long the turns of a job's life take, on real processes: ``python benchmarks/lifecycle.py``.

    pause           request → `paused` in the store (checkpoint written and verified, slot free)
    warm-resume     request → end of the first new step, in the parked process
    cold-resume     the same from the checkpoint, in a process forked anew
    forced-cancel   a training stuck in native code, deaf to SIGTERM, with children in sessions of
                    their own: request → last process gone → next job claimed → its first step
    crash           kill -9 of a worker's main process while another slot idles (lease 5 s):
                    → `running` again → end of the first new step

The model is tiny, so that what is measured is Trainyard and not the training. Medians of
``--runs``; every figure in seconds, also in ``benchmarks/results/lifecycle.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import select
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.stack import Stack, kill, wait_for  # noqa: E402 - from the repository's root
from worker.slot_client import parked_attempts  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "lifecycle.json"
POLL_S = 0.002
LEASE_S = 5
_TRAINING = {"eval_strategy": "no", "save_steps": 100_000, "logging_steps": 1000}
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
        hooks = {"PYTHONPATH": str(ROOT / "benchmarks" / "hooks"), "BENCH_STEPS": steps}
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
            asked = time.monotonic()
            on.stack.bridge.resume(job_id)
            figures["resume"].append(on.first_step_after(job_id, asked) - asked)
            wait_for(f"it started {how}", lambda job_id=job_id: how in on.stack.log(job_id))
            on.end(job_id)
    return figures


def _median_step_s(steps: list[tuple[float, int]]) -> float:
    times = [at for at, _ in steps]
    return statistics.median(b - a for a, b in itertools.pairwise(times))


def pause(runs: int) -> Figures:
    figures = pause_and_resume(runs, "(preloaded)", PARK_SECONDS="0")
    return {"request to paused": figures["pause"], "one step": figures["step"]}


def warm_resume(runs: int) -> Figures:
    figures = pause_and_resume(runs, "(parked before, goes on)")
    return {
        "request to end of first new step": figures["resume"],
        "pause before it, parking": figures["pause"],
        "one step": figures["step"],
    }


def cold_resume(runs: int) -> Figures:
    figures = pause_and_resume(runs, "Resuming from the checkpoint of step", PARK_SECONDS="0")
    return {"request to end of first new step": figures["resume"], "one step": figures["step"]}


def forced_cancel(runs: int) -> Figures:
    figures: Figures = {
        "request to last process gone": [],
        "last process gone to next job claimed": [],
        "last process gone to next job's first step": [],
    }
    with bench() as on:
        for number in range(runs):
            hung, following = f"hung-{number}", f"next-{number}"
            on.run_until_step(hung, 3)
            wait_for("its children live", lambda: len(on.stack.training_processes()) >= 6)
            on.submit(following)
            processes = [os.pidfd_open(p.pid) for p in on.stack.training_processes()]
            asked = time.monotonic()
            on.stack.bridge.cancel(hung, force=True)
            gone = _wait_dead(processes)
            claimed = on.wait_status(following, "running")
            first_step = on.first_step_after(following, gone)
            for name, value in zip(
                figures, (gone - asked, claimed - gone, first_step - gone), strict=True
            ):
                figures[name].append(value)
            on.end(following)
    return figures


def _wait_dead(pidfds: list[int]) -> float:
    """When the last of the processes had died (to within a poll, where the request was slow)."""
    died = 0.0
    for pidfd in pidfds:
        select.select([pidfd], [], [], 60)
        died = time.monotonic()
        os.close(pidfd)
    return died


def crash(runs: int) -> Figures:
    figures: Figures = {"kill to running again": [], "kill to end of first new step": []}
    with bench(slots=2, LEASE_SECONDS=str(LEASE_S)) as on:
        for number in range(runs):
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
            wait_for("both slots live", lambda: on.stack.redis.zcard("trainyard:slots") == 2)
            wait_for("its children too", lambda: len(on.stack.attempt_processes("pool child")) == 2)
            for socket in on.stack.slot_sockets():
                parked_attempts(socket, 60)  # it answers when it has imported torch
    return figures


BENCHMARKS: dict[str, Callable[[int], Figures]] = {
    "pause": pause,
    "warm-resume": warm_resume,
    "cold-resume": cold_resume,
    "forced-cancel": forced_cancel,
    "crash": crash,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="run these alone")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    results: dict[str, dict[str, dict[str, float | list[float]]]] = {}
    for name in options.only or BENCHMARKS:
        results[name] = {}
        for what, values in BENCHMARKS[name](options.runs).items():
            median_s = statistics.median(values)
            runs_s = [round(value, 4) for value in values]
            results[name][what] = {"median_s": round(median_s, 4), "runs_s": runs_s}
            spread = f"{min(values):.3f} to {max(values):.3f}"
            print(f"{name:14} {what:44} {median_s:8.3f} s  ({spread})", flush=True)
    machine = {
        "cores": psutil.cpu_count(),
        "load_1_min": os.getloadavg()[0],
        "python": platform.python_version(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
