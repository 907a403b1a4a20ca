"""Scenarios: what is done to a fresh start of a system, and the figures that come of it.

A figure is a number (seconds, or steps a second), or words where there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.peers.processes import Watched
from benchmarks.peers.system import ENDLESS, STEPS, System
from tests.support.stack import kill
from tests.support.waiting import wait_for

Figure = float | str
Figures = dict[str, Figure]

MEASURES: Mapping[str, tuple[str, str]] = {
    "start_first": ("submit to the end of the first step, first job of a fresh worker", "s"),
    "start_later": ("the same, a later job", "s"),
    "steps_per_s": (f"steps a second, steps 10 to {STEPS}", "steps/s"),
    "pause": ("pause, to the paused job", "s"),
    "resume": ("resume, to the end of the next step", "s"),
    "cancel": ("forced cancel of a hung training with children, to the last process gone", "s"),
    "kill_training": ("`kill -9` of the training's process, 15 s later", ""),
    "kill_worker": ("`kill -9` of the worker's main process, 15 s later", ""),
    "slow_backend": ("steps a second, the backend takes 5 s to answer", "steps/s"),
    "away_backend": ("steps a second, the backend is away", "steps/s"),
}
"""What each figure is, and its unit."""
NO_CALL = "no such call"
JOBS = ("plain-1", "plain-2", "plain-3", "hung-1", "family-1", "slow-1", "away-1")

_WARM_UP = 10
_REPORTING_STEPS = 30
_BACKENDS = ("slow_backend", "away_backend")
_CHILDREN = 4
_CANCEL_S = 10.0
_AFTER_KILL_S = 15.0
_SERVICE_MANAGER_S = 1.0
"""Whatever looks after the worker starts it again after this."""


def life(system: System) -> Figures:
    """Jobs one after the other."""
    figures: Figures = {}
    for job, name in zip(JOBS, ("start_first", "start_later"), strict=False):
        asked = time.monotonic()
        system.submit(job, STEPS)
        wait_for(f"{job} makes a step", lambda job=job: system.steps(job))
        figures[name] = system.steps(job)[0][0] - asked
        system.wait_end(job)
        figures["steps_per_s"] = steps_per_s(system.steps(job))
    return {**figures, **_pause(system), **_backends(system)}


def _pause(system: System) -> Figures:
    if "pause" in system.lacks:
        return {"pause": NO_CALL, "resume": NO_CALL}
    _run_until(system, job := "plain-3", _WARM_UP)
    asked = time.monotonic()
    system.pause(job)
    paused = time.monotonic()
    asked_again = time.monotonic()
    system.resume(job)
    wait_for(f"{job} goes on", lambda: system.steps(job)[-1][0] > asked_again)
    goes_on = next(at for at, _ in system.steps(job) if at > asked_again)
    watched = Watched(system.processes(job))
    system.cancel(job)
    wait_for(f"{job} is gone", lambda: not watched.alive())
    watched.end()
    return {"pause": paused - asked, "resume": goes_on - asked_again}


def _backends(system: System) -> Figures:
    figures: Figures = {}
    for backend in ("slow", "away"):
        system.use_backend(backend)
        system.submit(job := f"{backend}-1", _REPORTING_STEPS)
        wait_for(f"{job} trains", lambda job=job: len(system.steps(job)) == _REPORTING_STEPS)
        figures[f"{backend}_backend"] = steps_per_s(system.steps(job))
        system.wait_end(job)
    return figures


def cancel(system: System) -> Figures:
    """The end of a training that is stuck in native code, with children in their own sessions."""
    if "cancel" in system.lacks:
        return {"cancel": NO_CALL}
    _run_until(system, job := "hung-1", 3)
    watched = _with_children(system, job)
    try:
        asked = time.monotonic()
        system.cancel(job)
        gone = watched.wait_gone(asked + _CANCEL_S - time.monotonic())
        if gone is not None:
            return {"cancel": gone - asked}
        return {"cancel": f"{_left(watched.alive())} after {_CANCEL_S:g} s"}
    finally:
        watched.end()


def kill_training(system: System) -> Figures:
    """SIGKILL for the process that makes the steps."""
    return {"kill_training": _after_kill(system, lambda: system.training_pid("family-1"))}


def kill_worker(system: System) -> Figures:
    """SIGKILL for the worker's main process."""
    if "worker" in system.lacks:
        return {"kill_worker": "it has no worker"}
    return {"kill_worker": _after_kill(system, system.main_pid)}


SCENARIOS: Mapping[Callable[[System], Figures], Sequence[str]] = {
    life: ("start_first", "start_later", "steps_per_s", "pause", "resume", *_BACKENDS),
    cancel: ("cancel",),
    kill_training: ("kill_training",),
    kill_worker: ("kill_worker",),
}
"""Each with the figures that it gives."""


def _after_kill(system: System, whom: Callable[[], int]) -> str:
    _run_until(system, job := "family-1", _WARM_UP)
    watched = _with_children(system, job)
    first = Watched([system.training_pid(job)])
    try:
        kill(whom())
        killed = time.monotonic()
        time.sleep(_SERVICE_MANAGER_S)
        system.start_again()
        time.sleep(max(0.0, killed + _AFTER_KILL_S - time.monotonic()))
        says = None if "says" in system.lacks else system.says(job)
        found = outcome(system.attempts(job), says, bool(first.alive()))
        return f"{found}; {_left(watched.alive())}"
    finally:
        first.end()
        watched.end()


_MEANS = {
    "": "does not run again",
    **dict.fromkeys(("failed", "failure", "stopped"), "failed"),
    **dict.fromkeys(("started", "running", "not"), "does not run again, still called running"),
    **dict.fromkeys(("queued", "scheduled", "retry", "waiting", "stopping"), "waits"),
}
"""By the first word of what each system says."""


def outcome(attempts: int, says: str | None, first_lives: bool) -> str:
    """What became of a job, in one vocabulary for all. ``says``: the system's own word for it;
    ``first_lives``: the training's process of before is there."""
    word = f"`{says}`" if says is not None else "has no call for its state"
    if attempts > 1:
        return "runs twice at once" if first_lives else "runs again"
    if first_lives:
        return f"trains on without a worker ({word})"
    return f"{_MEANS.get((says or '').partition(' ')[0].lower(), 'lost')} ({word})"


def steps_per_s(steps: list[tuple[float, int]]) -> float:
    """From the tenth step to the last, of a job's first attempt."""
    numbered = [s for n, s in zip(range(1, len(steps) + 1), steps, strict=True) if s[1] == n]
    first, last = numbered[_WARM_UP - 1], numbered[-1]
    return (last[1] - first[1]) / (last[0] - first[0])


def _run_until(system: System, job: str, step: int) -> None:
    system.submit(job, ENDLESS)
    wait_for(f"{job} makes {step} steps", lambda: len(system.steps(job)) >= step)


def _with_children(system: System, job: str) -> Watched:
    wait_for("its children live", lambda: len(system.processes(job)) > _CHILDREN)
    return Watched(system.processes(job))


def _left(count: int) -> str:
    return "no process left" if count == 0 else f"{count} process{'es' * (count > 1)} left"
