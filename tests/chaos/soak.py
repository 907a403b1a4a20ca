"""What a soak does to a stack: jobs, requests of people, and ``kill -9``, drawn from one seed."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import psutil
from redis.exceptions import RedisError

from backend_bridge.bridge_client import BridgeError
from backend_bridge.contract import OCCUPYING, TERMINAL, JobStatus
from backend_bridge.job_record import Job
from tests.support.stack import Stack, wait_for

STEPS = (60, 120, 240)
"""Lengths of the jobs. Jobs of one length are the same training, so their weights must agree."""

PAUSE_S = (0.05, 0.6)
REDIS_AWAY_S = (0.1, 6.0)
SETTLE_S = 120.0
_REFUSALS = (0, 409, 503)
"""Statuses of a bridge that is right to refuse: not reached, not in this state, Redis away."""

WEIGHTS = {
    "submit": 8,
    "pause": 8,
    "resume": 8,
    "cancel": 1,
    "force-cancel": 1,
    "force-start": 1.5,
    "start-again": 1,
    "kill training": 3,
    "kill keeper": 3,
    "kill pool child": 2,
    "kill courier": 1.5,
    # These cost a slot the import of torch, and all others a quiet time.
    "kill slot process": 0.5,
    "kill worker": 0.5,
    "kill bridge": 0.5,
    "kill redis": 0.5,
}


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
        self.supervisors_killed_at: list[float] = []
        self._to_submit = deque(self.steps)
        self._bodies: dict[str, dict[str, Any]] = {}
        self._redis_back_at: float | None = None
        self._began = time.monotonic()

    # ------------------------------------------------------------ the two halves

    def disturb(self) -> None:
        """Draw and do ``actions`` things, then submit what is left."""
        for _ in range(4):
            self._submit()
        wait_for("a training runs", lambda: self.stack.attempt_processes("training"))
        for _ in range(self.actions):
            (what,) = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
            pick, wait_s = self.random.random(), self.random.uniform(*PAUSE_S)
            self._act(what, pick)
            time.sleep(wait_s)
            self._keep_running()

    def settle(self) -> None:
        """Nothing is killed any more: wait until every job has ended or is left paused.

        Raises TimeoutError, with the state of every job that is stuck.
        """
        self._note("settle")
        deadline = time.monotonic() + SETTLE_S
        while not (self._all_submitted() and self._is_settled()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not settled after {SETTLE_S:g} s:\n{self._unsettled()}")
            self._keep_running(now=True)
            time.sleep(0.2)
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
        alive = self.stack.redis.zcard("trainyard:slots") == self.stack.slots
        return len(jobs) == len(self.steps) and not (left or waits or undelivered) and alive

    def _resume_once(self, job: Job) -> None:
        self.stack.bridge.resume(job.job_id)
        self.to_be_resumed[job.job_id] = False

    def _unsettled(self) -> str:
        jobs = [job for job in self.stack.store.jobs() if job.status not in TERMINAL]
        queues = {key: self.stack.redis.llen(key) for key in self.stack.redis.keys("gpu*")}
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
        if which == "bridge":
            found = [self.stack.bridge_process.pid]
        elif which == "worker":
            found = [worker.pid for worker in self.stack.workers]
        else:
            found = [process.pid for process in self.stack.attempt_processes(which)]
        pids = sorted(pid for pid in found if pid is not None)
        if not pids:
            return
        try:
            process = psutil.Process(pids[int(pick * len(pids))])
            self._note(f"kill {which} {process.pid}")
            process.kill()
        except psutil.NoSuchProcess:
            return
        self.killed.add(which)
        if which == "pool child":
            self.supervisors_killed_at.append(time.time())

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
