"""Soak of a stack: jobs, requests of people, and faults, drawn from one seed."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import requests
from redis.exceptions import RedisError

from tests.chaos.faults import Faults
from tests.chaos.plan import ASKS, draw_plan
from tests.support.faked_clock import FakedClock
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from trainyard.client import BridgeError
from trainyard.contract.statuses import OCCUPYING, TERMINAL, JobStatus
from trainyard.scheduling.slots import SlotRegistry
from trainyard.store.job import Job

WARM = "(parked before, goes on)"
STEPS = (60, 120, 240)
"""Lengths of the jobs. Jobs of one length are the same training, so their weights must agree."""
STEPS_OF_A_SHORT_ONE, STEPS_OF_A_LONG_ONE, STEPS_LEFT = 6, 480, 150
"""A short one slips in where jobs run that have so many left, or it would find a slot anyway."""

PAUSE_S = (0.05, 0.6)
SLIP_S = 30.0
"""For how long a short job waits to be sent, until two long ones run."""
SETTLE_S = 90.0
"""After so long without any change at all a job counts as stuck."""
_REFUSALS = (0, 409, 503)
"""Statuses of a bridge that is right to refuse: not reached, not in this state, Redis away."""


class Soak:
    """One round on a running ``stack``: :meth:`disturb`, then :meth:`settle`.

    What is done, to which of the processes or jobs that are there, the waits between, and what each
    job is come from ``seed`` alone; who is how far at that moment is the machine's. There are
    ``jobs`` of them, and more where a fault finds none to strike. ``asks`` and ``strikes``: see
    ``plan``; ``clock``, ``small_disk``: see ``Faults``. ``history`` tells what was done, and
    ``slip_ins``, counted at the end, how often a job made way for a short one.
    """

    def __init__(
        self,
        stack: Stack,
        seed: int,
        *,
        jobs: int,
        asks: int,
        strikes: int,
        clock: FakedClock | None,
        small_disk: bool,
    ) -> None:
        self.stack = stack
        self.random = random.Random(seed)
        self.plan = draw_plan(self.random, asks, strikes)
        self.faults = Faults(
            stack,
            clock=clock,
            small_disk=small_disk,
            note=self._note,
            meanwhile=self._give_work,
        )
        self.steps: dict[str, int] = {}
        self.to_be_resumed: dict[str, bool] = {}
        self.history: list[str] = []
        self.slip_ins = 0
        self._seed = seed
        self._to_submit: deque[str] = deque()
        self._short: set[str] = set()
        self._bodies: dict[str, dict[str, Any]] = {}
        self._began = time.monotonic()
        for _ in range(jobs):
            self._draw_job()

    def _slip_in(self) -> None:
        """A short job, for which another one makes way: all slots are busy for some seconds."""
        known = {job.job_id: job for job in self._jobs(lambda _: True)}
        long = [name for name, steps in self.steps.items() if steps == STEPS_OF_A_LONG_ONE]
        left = [name for name in long if name not in known or _has_time(known[name])]
        for _ in range(self.stack.slots - len(left)):
            self._draw_job(STEPS_OF_A_LONG_ONE)
            self._to_submit.rotate()
        deadline = time.monotonic() + SLIP_S
        while len(self._jobs(_runs_long)) < self.stack.slots and time.monotonic() < deadline:
            self._keep_running()
            if self._to_submit and self.steps[self._to_submit[0]] == STEPS_OF_A_LONG_ONE:
                self._submit()
            time.sleep(0.1)
        job_id = f"soak-{len(self.steps):02}"
        self.steps[job_id], self.to_be_resumed[job_id] = STEPS_OF_A_SHORT_ONE, True
        self._short.add(job_id)
        self._to_submit.appendleft(job_id)
        self._submit()

    def _draw_job(self, steps: int | None = None) -> None:
        number = len(self.steps)
        drawn = random.Random(f"{self._seed} {number}")
        job_id = f"soak-{number:02}"
        self.steps[job_id] = steps or drawn.choice(STEPS)
        self.to_be_resumed[job_id] = drawn.random() < 0.7
        self._to_submit.append(job_id)

    # ------------------------------------------------------------ the two halves

    def disturb(self) -> None:
        """Do what is planned: each fault strikes while a job runs."""
        self._go_on_warm()
        for _ in range(4):
            self._submit()
        for what in self.plan:
            pick, length, wait_s = self.random.random(), self.random.random(), self.random.random()
            if what == "submit":
                self._submit()
            elif what == "slip-in":
                self._slip_in()
            elif what in ASKS:
                self._control(what, pick)
            else:
                self.faults.strike(what, pick, length)
            time.sleep(PAUSE_S[0] + wait_s * (PAUSE_S[1] - PAUSE_S[0]))
            self._keep_running()

    def _go_on_warm(self) -> None:
        """While there is room a paused job goes on in its own process; later they rarely do."""
        while self._to_submit:
            job_id = self._to_submit[0]
            self._submit()
            if self._pause_in_its_middle(job_id) and self._ask(
                f"resume {job_id}", lambda job_id=job_id: self.stack.bridge.resume(job_id)
            ):
                wait_for("it goes on warm", lambda job_id=job_id: WARM in self.stack.log(job_id))
                return
        raise AssertionError("every job ended before it could be paused")

    def _pause_in_its_middle(self, job_id: str) -> bool:
        """False where the job was faster."""

        def job() -> Job:
            found = self.stack.store.get(job_id)
            assert found is not None
            return found

        wait_for(f"{job_id} steps", lambda: job().progress.get("step") or job().status in TERMINAL)
        self._ask(f"pause {job_id}", lambda: self.stack.bridge.pause(job_id))
        wait_for(f"{job_id} waits", lambda: job().status in (*TERMINAL, JobStatus.PAUSED))
        return bool(job().parked)

    def settle(self) -> None:
        """Nothing is disturbed any more: wait until every job has ended or is left paused.

        Raises TimeoutError, with the state of every job that is stuck.
        """
        self._note("settle")
        self._keep_running(now=True)
        before, changed_at = "", time.monotonic()
        while not (self._all_submitted() and self._is_settled()):
            self._keep_running()
            time.sleep(0.2)
            now = self._unsettled()
            if now != before:
                before, changed_at = now, time.monotonic()
            if time.monotonic() - changed_at > SETTLE_S:
                raise TimeoutError(f"nothing moved for {SETTLE_S:g} s:\n{now}")
        self._note("settled")

    def _all_submitted(self) -> bool:
        while self._to_submit and self._submit():
            pass
        return not self._to_submit

    def _is_settled(self) -> bool:
        jobs = self._jobs(lambda _: True)
        for job in jobs:
            if job.status is JobStatus.PAUSED and self.to_be_resumed[job.job_id]:
                self._ask(f"resume {job.job_id}", lambda job=job: self._resume_once(job))
        left = [job for job in jobs if job.status not in (*TERMINAL, JobStatus.PAUSED)]
        waits = any(self.to_be_resumed[j.job_id] for j in jobs if j.status is JobStatus.PAUSED)
        undelivered = self.stack.redis.zcard("trainyard:undelivered")
        alive = self.stack.slots_alive() == self.stack.slots
        return len(jobs) == len(self.steps) and not (left or waits or undelivered) and alive

    def _resume_once(self, job: Job) -> None:
        self.stack.bridge.resume(job.job_id)
        self.to_be_resumed[job.job_id] = False

    def _unsettled(self) -> str:
        jobs = [job for job in self.stack.store.jobs() if job.status not in TERMINAL]
        queues = {
            key: self.stack.redis.llen(key) for key in self.stack.redis.keys("trainyard.gpu*")
        }
        undelivered = self.stack.redis.zrange("trainyard:undelivered", 0, -1, withscores=True)
        lines = [f"{j.job_id}:{j.attempt} {j.status} on {j.slot!r} {j.progress}" for j in jobs]
        idle = SlotRegistry(self.stack.redis).idle()
        return "\n".join([*lines, f"queues {queues}", f"undelivered {undelivered}", f"idle {idle}"])

    # ------------------------------------------------------------ one action

    def _submit(self) -> bool:
        if not self._to_submit:
            return False
        job_id = self._to_submit[0]
        if job_id not in self._bodies:
            token, steps = f"tok-{job_id}", self.steps[job_id]
            how = {"slip_in": True, "priority": 0} if job_id in self._short else {}
            body = self.stack.body(
                job_id, steps=steps, training=_TRAINING, data=_DATA, job_token=token, **how
            )
            try:
                self.stack.backend.create_job(job_id, token, body["config"])
            except requests.ConnectionError:
                self._note(f"submit {job_id}: the backend is down")
                return False
            self._bodies[job_id] = body
        if not self._ask(f"submit {job_id}", lambda: self.stack.bridge.start(self._bodies[job_id])):
            return False
        self._to_submit.popleft()
        if self.faults.disk_is_full:
            self.faults.short_of_disk.add(job_id)
        return True

    def _control(self, what: str, pick: float) -> None:
        bridge = self.stack.bridge
        wanted, call = {
            "pause": ({JobStatus.QUEUED, JobStatus.RUNNING}, bridge.pause),
            "resume": ({JobStatus.PAUSED}, bridge.resume),
            "cancel": (
                {*OCCUPYING, JobStatus.QUEUED, JobStatus.PAUSED},
                lambda job_id: bridge.cancel(job_id, force=False),
            ),
            "force-cancel": (OCCUPYING, lambda job_id: bridge.cancel(job_id, force=True)),
            "force-start": ({JobStatus.QUEUED}, bridge.force_start),
            "start-again": (
                {JobStatus.CANCELLED, JobStatus.FAILED},
                lambda job_id: bridge.force_start(job_id, from_start=pick < 0.5),
            ),
        }[what]
        jobs = self._jobs(lambda job: job.status in wanted)
        jobs.sort(key=lambda job: job.status not in OCCUPYING)
        if jobs:
            job = jobs[int(pick**2 * len(jobs))]  # rather what runs than what waits
            self._ask(f"{what} {job.attempt_id} ({job.status})", lambda: call(job.job_id))

    def _ask(self, what: str, call: Callable[[], Any]) -> bool:
        """Do it; False where the bridge was not there, or refused as it may."""
        try:
            call()
        except BridgeError as error:
            self._note(f"{what}: {error}")
            if error.status not in _REFUSALS:
                raise
            return False
        self._note(what)
        return True

    def _jobs(self, wanted: Callable[[Job], bool]) -> list[Job]:
        try:
            return [job for job in self.stack.store.jobs() if wanted(job)]
        except RedisError:
            return []

    # ------------------------------------------------------------ what runs

    def _give_work(self) -> None:
        """While a fault waits for somebody to strike: a job for each slot."""
        self._keep_running()
        live = self._jobs(lambda job: job.status in (*OCCUPYING, JobStatus.QUEUED))
        if len(live) < self.stack.slots:
            if not self._to_submit:
                self._draw_job()
            self._submit()

    def _keep_running(self, *, now: bool = False) -> None:
        """What the launcher and an init system do."""
        self.faults.mend(now=now)
        for child in (self.stack.bridge_process, *self.stack.workers):
            child.ensure_running()

    def _note(self, what: str) -> None:
        self.history.append(f"{time.monotonic() - self._began:7.2f} s  {what}")


def _has_time(job: Job) -> bool:
    """Whether it has so much left that a short one may slip in, or has not begun."""
    left = (job.progress.get("total_steps") or STEPS_OF_A_LONG_ONE) - job.progress.get("step", 0)
    return job.status in (JobStatus.QUEUED, JobStatus.RUNNING) and left > STEPS_LEFT


def _runs_long(job: Job) -> bool:
    return job.status is JobStatus.RUNNING and bool(job.progress) and _has_time(job)


_TRAINING = {"logging_steps": 10, "save_steps": 10, "eval_strategy": "no"}
_DATA = {"eval_split": 0.0, "train_split": 1.0}
