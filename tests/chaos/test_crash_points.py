"""Crash points: a process dies at one, whichever it is, and the job ends as it would have.

A few of the points in ``make test-all``; ``make long-forms`` strikes each ``CRASH_STRIKES`` times.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.evidence import Evidence
from tests.chaos.test_soak import WITNESS
from tests.chaos.witness.crash_points import PLACES, POINTS
from tests.support.paths import REPOSITORY
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from trainyard.client import BridgeError
from trainyard.contract.statuses import JobStatus

FEW = ("after-the-claim", "after-the-status", "before-paused")
STRIKES = int(os.environ.get("CRASH_STRIKES", "25"))
PLACES_MIN = 40
STEPS, STEPS_TO_PAUSE_IN, STEPS_TO_CANCEL_IN = 20, 150, 2_000
"""Whoever asks again, since the bridge died before it heard, must still find the job running."""
STRIKE_S = 180.0

CANCELLED = {"the-cancel", "the-revoke", "cancelled"}
"""Where a job comes only when it is cancelled by force, ..."""
PAUSED = {
    *("the-wish-to-pause", "the-resume", "paused", "the-dispatch", "the-warm-start"),
    *("the-parking", "the-taking-over", "the-pause", "the-wait"),
}
"""... paused and resumed, ..."""
SLIPPED = {"made-way", "the-wish-to-slip-in"}
"""... slipped into, ..."""
LOST = {"lost"}
"""... or when its training is killed."""


class Strikes:
    """Strikes points on a running stack, a job for each; see ``crash_points``."""

    def __init__(self, stack: Stack, folder: Path, witness: Path) -> None:
        self._stack, self._folder, self._witness = stack, folder, witness
        self._jobs: dict[str, int] = {}

    def strike(self, point: str) -> None:
        """One job through the point; fails if it was not struck, or if anything is wrong then."""
        job_id = f"{point}-{len(self._jobs)}"
        what = point.partition("-")[2]
        steps = STEPS_TO_PAUSE_IN if what in PAUSED else STEPS
        steps = STEPS_TO_CANCEL_IN if what in CANCELLED | SLIPPED else steps
        self._jobs[job_id] = steps
        armed = self._folder / point
        body = self._stack.body(
            job_id, steps=steps, training=_TRAINING, data=_DATA, job_token="tok"
        )
        self._stack.backend.create_job(job_id, "tok", body["config"])
        armed.touch()
        self._insist(lambda: self._stack.bridge.start(body))
        if what in PAUSED:
            self._pause_and_resume(job_id)
        if what in SLIPPED:
            self._slip_in(job_id)
        if what in LOST:
            self._until(f"{job_id} steps", lambda: self._stack.attempt_processes("training"))
            for training in self._stack.attempt_processes("training"):
                training.kill()
        if what in CANCELLED:
            self._until(f"{job_id} runs", lambda: self._status(job_id) is not JobStatus.QUEUED)
            self._insist(lambda: self._stack.bridge.cancel(job_id, force=True))
        wanted = JobStatus.CANCELLED if what in CANCELLED else JobStatus.COMPLETED
        self._until(f"{job_id} is {wanted}", lambda: self._status(job_id) is wanted)
        self._until(f"nobody came to {point}", lambda: not armed.exists())
        redis = self._stack.redis
        self._until(f"{job_id} is told", lambda: not redis.zcard("trainyard:undelivered"))
        self._until("the slot is there", lambda: self._stack.slots_alive() == self._stack.slots)
        problems = Evidence(self._stack, self._jobs, self._witness).problems()
        assert not problems, f"{point}: {problems}"

    def _pause_and_resume(self, job_id: str) -> None:
        """As a person who asks again if there was no answer."""
        self._until(f"{job_id} steps", lambda: self._step(job_id))
        self._insist(lambda: self._stack.bridge.pause(job_id))
        ended = (JobStatus.PAUSED, JobStatus.COMPLETED)
        self._until(f"{job_id} is paused", lambda: self._status(job_id) in ended)
        self._insist(lambda: self._stack.bridge.resume(job_id))

    def _slip_in(self, job_id: str) -> None:
        """A short job waits for the slot that the long one has, and ends before it."""
        self._until(f"{job_id} steps", lambda: self._step(job_id))
        short = f"short-{job_id}"
        self._jobs[short] = STEPS
        body = self._stack.body(
            short, steps=STEPS, training=_TRAINING, data=_DATA, job_token="tok", slip_in=True
        )
        self._stack.backend.create_job(short, "tok", body["config"])
        self._insist(lambda: self._stack.bridge.start(body))
        self._until(f"{short} is done", lambda: self._status(short) is JobStatus.COMPLETED)

    def _step(self, job_id: str) -> int:
        job = self._stack.store.get(job_id)
        return 0 if job is None else int(job.progress.get("step") or 0)

    def _status(self, job_id: str) -> JobStatus | None:
        job = self._stack.store.get(job_id)
        return None if job is None else job.status

    def _insist(self, call: Callable[[], object]) -> None:
        """Until there is an answer: that it is so already is one."""

        def answered() -> bool:
            try:
                call()
            except BridgeError as error:
                return error.status == 409
            return True

        self._until("the bridge answers", answered)

    def _until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait, and do meanwhile what the launcher and an init system do."""

        def reached() -> bool:
            for child in (self._stack.bridge_process, *self._stack.workers):
                child.ensure_running()
            return bool(condition())

        wait_for(what, reached, STRIKE_S)


_TRAINING = {"logging_steps": 10, "save_steps": 10, "save_total_limit": 1, "eval_strategy": "no"}
_DATA = {"eval_split": 0.0, "train_split": 1.0}


@contextmanager
def strikes(tmp_path: Path) -> Iterator[Strikes]:
    folder, witness = tmp_path / "armed", tmp_path / "witness"
    folder.mkdir()
    witness.mkdir()
    environment = {"PYTHONPATH": str(WITNESS), "CHAOS_WITNESS": str(witness)}
    environment |= {"CRASH_FOLDER": str(folder), "MAX_RESTARTS": "1000", "LEASE_SECONDS": "3"}
    with Stack(**environment) as stack:
        yield Strikes(stack, folder, witness)


def names_in(module: str) -> set[str]:
    """``function`` and ``Class.method`` of a module, from its source: an import costs seconds."""
    tree = ast.parse((REPOSITORY / f"{module.replace('.', '/')}.py").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    of_classes = {
        f"{one.name}.{node.name}"
        for one in classes
        for node in one.body
        if isinstance(node, ast.FunctionDef)
    }
    return of_classes | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_there_are_forty_places_and_each_exists() -> None:
    assert len(PLACES) >= PLACES_MIN
    for place in PLACES.values():
        module, _, name = place.partition(":")
        assert name.split(" ")[0] in names_in(module), place


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_few_points(tmp_path: Path) -> None:
    with strikes(tmp_path) as striking:
        for point in FEW:
            striking.strike(point)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("point", POINTS)
def test_each_point_often(tmp_path: Path, point: str) -> None:
    with strikes(tmp_path) as striking:
        for _ in range(STRIKES):
            striking.strike(point)
