"""What a soak does to a stack: jobs, requests of people, and ``kill -9``, drawn from one seed."""

from __future__ import annotations

import contextlib
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import psutil
from redis.exceptions import RedisError

from tests.chaos.plan import draw_plan
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from trainyard.client import BridgeError
from trainyard.contract.statuses import OCCUPYING, TERMINAL, JobStatus
from trainyard.store.job import Job

WARM = "(parked before, goes on)"
STEPS = (60, 120, 240)
"""Lengths of the jobs. Jobs of one length are the same training, so their weights must agree."""

PAUSE_S = (0.05, 0.6)
REDIS_AWAY_S = (0.1, 6.0)
SETTLE_S = 90.0
"""After so long without any change at all a job counts as stuck."""
_REFUSALS = (0, 409, 503)
"""Statuses of a bridge that is right to refuse: not reached, not in this state, Redis away."""
_PREY_S = 60.0
"""For how long the first kill of each kind waits for a process of that kind."""


class Soak:
    """One round on a running ``stack``: :meth:`disturb`, then :meth:`settle`.

    What is done, to which of the processes or jobs that are there, and the waits between come from
    ``seed`` alone; who is how far at that moment is the machine's. ``history`` tells what was done.
    """

    def __init__(self, stack: Stack, seed: int, *, jobs: int, actions: int) -> None:
        self.stack = stack
        self.random = random.Random(seed)
        self.actions = actions
        self.steps = {f"soak-{n:02}": self.random.choice(STEPS) for n in range(jobs)}
        self.to_be_resumed = {job_id: self.random.random() < 0.7 for job_id in self.steps}
        self.history: list[str] = []
        self.killed: set[str] = set()
        self._to_submit = deque(self.steps)
        self._bodies: dict[str, dict[str, Any]] = {}
        self._redis_back_at: float | None = None
        self._began = time.monotonic()

    # ------------------------------------------------------------ the two halves

    def disturb(self) -> None:
        """Draw and do ``actions`` things: each kind of kill hits at least once."""
        self._go_on_warm()
        for _ in range(4):
            self._submit()
        wait_for("a training runs", lambda: self.stack.attempt_processes("training"))
        for what in draw_plan(self.random, self.actions):
            pick, wait_s = self.random.random(), self.random.uniform(*PAUSE_S)
            self._act(what, pick)
            time.sleep(wait_s)
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
        """Nothing is killed any more: wait until every job has ended or is left paused.

        Raises TimeoutError, with the state of every job that is stuck.
        """
        self._note("settle")
        before, changed_at = "", time.monotonic()
        while not (self._all_submitted() and self._is_settled()):
            self._keep_running(now=True)
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
        return "\n".join([*lines, f"queues {queues}", f"undelivered {undelivered}"])

    # ------------------------------------------------------------ one action

    def _act(self, what: str, pick: float) -> None:
        match what.split():
            case ["submit"]:
                self._submit()
            case ["kill", "redis"]:
                self._kill_redis(pick)
            case ["kill", "everything"]:
                self._kill_everything(pick)
            case ["kill", *which]:
                self._kill(" ".join(which), pick)
            case _:
                self._control(what, pick)

    def _submit(self) -> bool:
        if not self._to_submit:
            return False
        job_id = self._to_submit[0]
        if job_id not in self._bodies:
            token, steps = f"tok-{job_id}", self.steps[job_id]
            body = self.stack.body(
                job_id, steps=steps, training=_TRAINING, data=_DATA, job_token=token
            )
            self.stack.backend.create_job(job_id, token, body["config"])
            self._bodies[job_id] = body
        if not self._ask(f"submit {job_id}", lambda: self.stack.bridge.start(self._bodies[job_id])):
            return False
        self._to_submit.popleft()
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

    # ------------------------------------------------------------ kill -9

    def _kill(self, which: str, pick: float) -> None:
        """Kill one of that kind; where there is none and was none yet, wait for it."""
        deadline = time.monotonic() + _PREY_S
        while not self._kill_one(which, pick) and which not in self.killed:
            assert time.monotonic() < deadline, f"no {which} to kill in {_PREY_S:g} s"
            self._keep_running()
            self._make_work(pick)
            time.sleep(0.1)

    def _kill_one(self, which: str, pick: float) -> bool:
        pids = self._pids(which)
        try:
            process = psutil.Process(pids[int(pick * len(pids))])
            self._note(f"kill {which} {process.pid}")
            process.kill()
        except (IndexError, psutil.NoSuchProcess):
            return False
        self.killed.add(which)
        return True

    def _pids(self, which: str) -> list[int]:
        if which == "bridge":
            found = [self.stack.bridge_process.pid]
        elif which == "worker":
            found = [worker.pid for worker in self.stack.workers]
        else:
            found = [process.pid for process in self.stack.attempt_processes(which)]
        return sorted(pid for pid in found if pid is not None)

    def _make_work(self, pick: float) -> None:
        if not self._jobs(lambda job: job.status in (*OCCUPYING, JobStatus.QUEUED)):
            self._submit()
            self._control("resume", pick)
            self._control("start-again", pick)

    def _kill_everything(self, pick: float) -> None:
        """Like a loss of power: Redis and every process of ours, the bridge too."""
        self._kill_redis(pick)
        self._note("kill everything")
        for process in self.stack.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.killed.add("everything")

    def _kill_redis(self, pick: float) -> None:
        if self._redis_back_at is None:
            away_s = REDIS_AWAY_S[0] + pick * (REDIS_AWAY_S[1] - REDIS_AWAY_S[0])
            self._note(f"kill redis for {away_s:.1f} s")
            self.stack.redis_server.kill()
            self._redis_back_at = time.monotonic() + away_s
            self.killed.add("redis")

    def _keep_running(self, *, now: bool = False) -> None:
        """What the launcher and an init system do."""
        for child in (self.stack.bridge_process, *self.stack.workers):
            child.ensure_running()
        if self._redis_back_at is not None and (now or time.monotonic() >= self._redis_back_at):
            self.stack.redis_server.start()
            self._note("redis is back")
            self._redis_back_at = None

    def _note(self, what: str) -> None:
        self.history.append(f"{time.monotonic() - self._began:7.2f} s  {what}")


_TRAINING = {"logging_steps": 10, "save_steps": 10, "eval_strategy": "no"}
_DATA = {"eval_split": 0.0, "train_split": 1.0}
