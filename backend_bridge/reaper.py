"""Reaper: no job stays 'running' without a worker, or queued without a message.

A job whose lease has run out is queued again, or failed after MAX_RESTARTS, or cancelled if
that was under way. A job that is queued in the store and not in the broker is sent again. One that
is held is released when its time comes.
Several reapers do no harm to each other: every change is a guarded transition. One of them looks
for messages and for what is held.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from redis.exceptions import RedisError

from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.couriers import Duty
from trainyard.scheduling.dispatch import Dispatcher
from trainyard.scheduling.watched_clock import RedisInstant, WatchedClock
from trainyard.store.job import Job
from trainyard.store.queueing import holds
from trainyard.store.queueing.admissions import AwaitsInVain

EVERY_S = 1.0
logger = logging.getLogger(__name__)


class Reaper:
    """Looks after what crashes leave behind, once a second.

    Silence is no crash if nobody could speak: see :class:`WatchedClock`. ``before_loss`` is called
    with a job that is about to be taken from its attempt, and tells whether the attempt had put it
    back and could not say so: that is no crash either. ``home``: whose folders it can look into
    (None: everybody's); whoever sees a job's folder is left a round to be first. ``after_round``
    is called by each of several reapers, ``on_duty`` by the one that looks for all of them; both
    may raise RedisError. ``home_wait_s``: how long a job waits for the host of its checkpoints.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        clock: WatchedClock | None = None,
        home: str | None = None,
        before_loss: Callable[[Job], bool] = lambda _: False,
        after_round: Callable[[], None] = lambda: None,
        on_duty: Callable[[], None] = lambda: None,
        home_wait_s: float = math.inf,
    ) -> None:
        self.dispatcher = dispatcher
        self.store = dispatcher.store
        self.queue = dispatcher.queue
        self.duty = Duty(self.store.redis, "send-again", every_s=EVERY_S)
        self.clock = clock or WatchedClock(self.store.lease_ms / 1000, EVERY_S)
        self.before_loss = before_loss
        self.after_round = after_round
        self.on_duty = on_duty
        self.home_wait_s = home_wait_s
        self.home = home
        self._left_to_others: set[str] = set()
        self._missing: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set."""
        while not stop.wait(EVERY_S):
            try:
                self.reap()
                if self.duty.is_mine():
                    self.release()
                    self.send_again()
                    self.on_duty()
                self.after_round()
            except RedisError as error:
                logger.warning("reaper: Redis is away: %s", error, extra={"action": "redis_away"})
                self.clock.out_of_sight()

    def reap(self) -> None:
        """Take jobs from attempts whose lease has run out, if leases can be judged now."""
        run_id, uptime_s = self.store.redis_run()
        now_s, jobs = self.store.expired()
        until_s = self.clock.judges_until_s(RedisInstant(now_s, run_id, uptime_s))
        if until_s is None:
            return
        others = {job.attempt_id for job in jobs if self.home not in (None, job.home)}
        left, self._left_to_others = others - self._left_to_others, others
        for job in jobs:
            if job.attempt_id in left:
                continue
            take = self._put_back if self.before_loss(job) else self._lost
            verdict = take(job, until_s)
            if verdict is None:
                continue
            logger.warning(
                "job %s: lease ran out: %s",
                job.job_id,
                verdict,
                extra={"action": "lease_expired", "job_id": job.job_id},
            )
            if verdict is JobStatus.QUEUED:
                self.dispatcher.send(job.job_id, at_head=True)

    def _lost(self, job: Job, until_s: float) -> JobStatus | None:
        silent_s = self.store.lease_ms / 1000
        why = f"Its worker ({job.slot}) was lost: no sign of life for {silent_s:g} s."
        return self.store.lost(job.job_id, job.attempt, why, judged_until_s=until_s)

    def _put_back(self, job: Job, until_s: float) -> JobStatus | None:
        why = f"its worker ({job.slot}) stopped while Redis was away."
        if not self.store.put_back(job.job_id, job.attempt, why, judged_until_s=until_s):
            return None
        now = self.store.get(job.job_id)
        return now.status if now else None

    def release(self) -> None:
        """Send the held jobs whose time has come; fail those that await another in vain.

        Each that fails may be awaited by another: a whole chain fails in one round.
        """
        looks_again = True
        while looks_again:
            released, in_vain = self.store.release()
            failed = [held for held in in_vain if self._fail_in_vain(held)]
            looks_again = bool(failed)
            for job_id in released:
                self.dispatcher.send(job_id)

    def _fail_in_vain(self, held: AwaitsInVain) -> bool:
        report = holds.in_vain(held)
        if not self.store.give_up_waiting(held.job_id, held.attempt, report):
            return False
        extra = {"action": "awaited_in_vain", "job_id": held.job_id}
        logger.warning("job %s: %s", held.job_id, report.message, extra=extra)
        return True

    def send_again(self) -> None:
        """Send queued jobs again that no living slot will find in the broker.

        A job must be found missing twice: between the broker and its claim an attempt is in
        neither for a moment. Cheap if all is well: the lengths of the queues, and what is of
        priority 0.
        """
        away = self._still_away()
        slots = self.dispatcher.slots.served()
        waiting = self.store.waiting_count()
        if self.queue.count(slots) + len(away) >= waiting:
            self._missing.clear()
            return
        held = self.queue.attempts(slots)
        jobs = self.store.jobs(self.store.waiting())
        missing = {job.attempt_id: job for job in jobs if _is_queued(job)}
        missing = {
            name: job
            for name, job in missing.items()
            if name not in held and job.job_id not in away
        }
        for name in self._missing & missing.keys():
            job_id = missing.pop(name).job_id
            logger.warning(
                "%s: queued but not in the broker: sent again",
                name,
                extra={"action": "sent_again", "job_id": job_id},
            )
            self.queue.remove(name)  # it may wait where nobody takes it
            self.dispatcher.send(job_id)
        self._missing = set(missing)

    def _still_away(self) -> set[str]:
        """Ids of the jobs that wait for their host; the others of those are sent, or forgotten."""
        waited_s = self.dispatcher.host_waits.waited_s()
        if not waited_s:
            return set()
        homes, away = self.dispatcher.homes(), set[str]()
        for job in self.store.jobs(waited_s):
            if _is_queued(job) and job.is_bound and job.home not in homes:
                away.add(job.job_id)
                if waited_s[job.job_id] > self.home_wait_s:
                    self._give_up(job)
            else:
                self.dispatcher.send(job.job_id)
        return away

    def _give_up(self, job: Job) -> None:
        hours = self.home_wait_s / 3600
        host = f"the host {job.home_host}" if job.home_host else "the host"
        kept = f"the job {job.origin}, from which it goes on" if job.origin else "its checkpoints"
        message = f"It has waited {hours:g} hours for {host}, which has {kept}."
        afresh = "" if job.origin else ", with --from-start it starts afresh on another"
        hint = (
            f"`trainyard force-start {job.job_id}` waits for it again{afresh}; HOME_WAIT_HOURS "
            "sets how long it waits."
        )
        report = ErrorReport(kind=ErrorKind.WORKER_LOST, message=message, hint=hint)
        if self.store.give_up_waiting(job.job_id, job.attempt, report):
            extra = {"action": "host_away", "job_id": job.job_id}
            logger.warning("job %s: %s", job.job_id, message, extra=extra)


def _is_queued(job: Job) -> bool:
    return job.status is JobStatus.QUEUED
