"""Reaper: no job stays 'running' without a worker, or queued without a message.

A job whose lease has run out is queued again, or failed after MAX_RESTARTS, or cancelled if
that was under way. A job that is queued in the store and not in the broker is sent again.
Several reapers do no harm to each other: every change is a guarded transition.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from redis.exceptions import RedisError

from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.dispatch import Dispatcher
from trainyard.store.job import Job

EVERY_S = 1.0
logger = logging.getLogger(__name__)


class Reaper:
    """Looks after what crashes leave behind, once a second.

    After it could not reach Redis it waits for one whole lease: supervisors could not renew
    meanwhile, and must have time to do so before anybody takes their jobs. ``before_loss`` is
    called with a job that is about to be taken from its attempt.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        redis_uptime_s: Callable[[], float] | None = None,
        before_loss: Callable[[Job], None] = lambda _: None,
    ) -> None:
        self.dispatcher = dispatcher
        self.store = dispatcher.store
        self.queue = dispatcher.queue
        self.redis_uptime_s = redis_uptime_s or self.store.redis_uptime_s
        self.before_loss = before_loss
        self._missing: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set."""
        pause_s = EVERY_S
        while not stop.wait(pause_s):
            try:
                self.reap()
                self.send_again()
                pause_s = EVERY_S
            except RedisError as error:
                logger.warning("reaper: Redis is away: %s", error, extra={"action": "redis_away"})
                pause_s = self.store.lease_ms / 1000

    def reap(self) -> None:
        """Take jobs from attempts whose lease has run out.

        After a restart of Redis not before one whole lease: nobody could renew meanwhile.
        """
        if self.redis_uptime_s() <= self.store.lease_ms / 1000:
            return
        for job in self.store.expired():
            self.before_loss(job)
            verdict = self.store.lost(
                job.job_id,
                job.attempt,
                f"Its worker ({job.slot}) was lost: no sign of life for "
                f"{self.store.lease_ms / 1000:g} s.",
            )
            logger.warning(
                "job %s: lease ran out: %s",
                job.job_id,
                verdict,
                extra={"action": "lease_expired", "job_id": job.job_id},
            )
            if verdict is JobStatus.QUEUED:
                self.dispatcher.send(job.job_id, at_head=True)

    def send_again(self) -> None:
        """Send queued jobs again that no living slot will find in the broker.

        A job must be found missing twice: between the broker and its claim an attempt is in
        neither for a moment. Cheap if all is well: the lengths of the queues.
        """
        slots = {slot.name for slot in self.dispatcher.slots.alive()}
        waiting = self.store.waiting_count()
        if self.queue.count(slots) >= waiting:
            self._missing.clear()
            return
        held = self.queue.attempts(slots)
        jobs = self.store.jobs(self.store.waiting())
        missing = {job.attempt_id: job for job in jobs if _is_queued(job)}
        missing = {name: job for name, job in missing.items() if name not in held}
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


def _is_queued(job: Job) -> bool:
    return job.status is JobStatus.QUEUED
