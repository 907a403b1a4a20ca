"""Slip-ins: short jobs for which a running one makes way, while every slot is busy.

What is to be done follows from the store alone, each time anew, and whoever asks first is heard:
any number of couriers may look, and it does no harm if one dies.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.dispatch import Dispatcher
from trainyard.store.job import Job

HOUR_S = 3600.0

logger = logging.getLogger(__name__)


def who_makes_way(running: Sequence[Job], short: Job, per_hour: int, now_s: float) -> Job | None:
    """Of the jobs that run, the one of the lowest priority, and of those that with the most left.

    Never one of priority 0, which comes first itself, nor one that has not made a step since its
    start: nothing of that could be kept.
    """

    def can(job: Job) -> bool:
        made = [at for at in job.slipped_at if now_s - HOUR_S < at / 1000 <= now_s]
        return (
            job.status is JobStatus.RUNNING
            and job.priority > 0
            and not (job.slip_in or job.is_to_make_way)
            and (job.step_at or 0) > (job.attempt_started_at or math.inf)
            and (not short.is_bound or job.home == short.home)
            and len(made) < per_hour
        )

    def rank(job: Job) -> tuple[int, float]:
        left_s = job.progress.get("remaining_seconds")
        return job.priority, math.inf if left_s is None else left_s

    return max(filter(can, running), key=rank, default=None)


class SlipIns:
    """Asks for those that wait, a round at a time. ``per_hour``: how often a job makes way."""

    def __init__(self, dispatcher: Dispatcher, per_hour: int) -> None:
        self._dispatcher = dispatcher
        self._store = dispatcher.store
        self._per_hour = per_hour
        self._could_go_elsewhere: set[str] = set()

    def look(self) -> None:
        """Ask for each that waits in vain. Raises RedisError."""
        waiting, aside = self._store.slip_ins(), self._store.made_way()
        if not (waiting or aside):
            self._could_go_elsewhere.clear()
            return
        running = self._store.jobs(self._store.occupying())
        taking = set(self._dispatcher.slots.names_alive())
        free = len(taking - {job.slot for job in running})
        there = [job for job in waiting if not self._dispatcher.is_away(job)]
        for short in there[free:]:
            self._ask([job for job in running if job.slot in taking], short)
        self._go_elsewhere(aside, {job.slot for job in running}, free)

    def _ask(self, running: Sequence[Job], short: Job) -> None:
        now_s = self._store.redis.time()[0]
        job = who_makes_way(running, short, self._per_hour, now_s)
        if job is None or not self._store.ask_way(
            job, f"job {short.job_id} slips in", slips_in=short, per_hour=self._per_hour
        ):
            return
        logger.info(
            "job %s is asked to make way for %s",
            job.job_id,
            short.job_id,
            extra={"action": "slips_in", "job_id": short.job_id},
        )
        self._store.to_head(short.job_id)
        pinned = self._dispatcher.slot_for(short) is not None
        self._dispatcher.queue.to_head(short.attempt_id, job.slot if pinned else None)

    def _go_elsewhere(self, aside: Sequence[Job], busy: set[str], free: int) -> None:
        """A slot that is idle takes what waits for another one, which is busy, in two rounds.

        It goes on from its checkpoint there.
        """
        waits = {job.attempt_id: job for job in aside if free and job.parked_on in busy}
        for name in list(waits.keys() & self._could_go_elsewhere)[:free]:
            self._dispatcher.queue.to_head(name, self._dispatcher.slot_for(waits[name]))
        self._could_go_elsewhere = set(waits)
