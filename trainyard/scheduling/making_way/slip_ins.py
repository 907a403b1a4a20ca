"""Slip-ins: short jobs and questions to a model, for which a running job makes way while every slot
is busy.

What is to be done follows from the store alone, each time anew, and whoever asks first is heard:
any number of couriers may look, and it does no harm if one dies.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

from trainyard.contract.generation.messages import AskedOfJob
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.dispatch import Dispatcher
from trainyard.scheduling.generations import Generations
from trainyard.store.job import Job

HOUR_S = 3600.0

logger = logging.getLogger(__name__)


def who_makes_way(
    running: Sequence[Job], short: Job | AskedOfJob, per_hour: int, now_s: float
) -> Job | None:
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
            and _may_run_there(short, job)
            and len(made) < per_hour
        )

    def rank(job: Job) -> tuple[int, float]:
        left_s = job.progress.get("remaining_seconds")
        return job.priority, math.inf if left_s is None else left_s

    return max(filter(can, running), key=rank, default=None)


def _may_run_there(short: Job | AskedOfJob, job: Job) -> bool:
    """Whether the slot of ``job`` may take it."""
    if isinstance(short, AskedOfJob):
        return short.slot in (None, job.slot)
    return not short.is_bound or job.home == short.home


class SlipIns:
    """Asks for those that wait, a round at a time. ``per_hour``: how often a job makes way."""

    def __init__(self, dispatcher: Dispatcher, per_hour: int) -> None:
        self._dispatcher = dispatcher
        self._store = dispatcher.store
        self._generations = Generations(dispatcher.store.redis)
        self._per_hour = per_hour
        self._could_go_elsewhere: set[str] = set()

    def look(self) -> None:
        """Ask for each that waits in vain. Raises RedisError."""
        waiting, aside = self._store.slip_ins(), self._store.made_way()
        questions = self._generations.questions()
        if not (waiting or aside or questions):
            self._could_go_elsewhere.clear()
            return
        running = self._store.jobs(self._store.occupying())
        taking = set(self._dispatcher.slots.names_alive())
        busy = {job.slot for job in running}
        free = taking - busy
        there = [job for job in waiting if not self._dispatcher.is_away(job)]
        may = [job for job in running if job.slot in taking]
        self._ask_for_questions(may, questions, free)
        for short in there[len(free) :]:
            if (job := self._ask(may, short, short, f"job {short.job_id}")) is not None:
                self._store.to_head(short.job_id)
                pinned = self._dispatcher.slot_for(short) is not None
                self._dispatcher.queue.to_head(short.attempt_id, job.slot if pinned else None)
        self._go_elsewhere(aside, busy, len(free))

    def _ask_for_questions(
        self, running: Sequence[Job], questions: Mapping[str, AskedOfJob], free: set[str]
    ) -> None:
        """One job makes way for all that its slot may answer: each takes seconds."""
        for name, asked in questions.items():
            makes_way = (j for j in running if j.is_to_make_way and j.way_for in questions)
            about_to_be_free = free | {job.slot for job in makes_way}
            if about_to_be_free and asked.slot in {None, *about_to_be_free}:
                continue
            job = self._ask(running, asked, name, f"a question to job {asked.job_id}")
            if job is not None:
                self._dispatcher.queue.to_head(name, asked.slot)

    def _ask(
        self, running: Sequence[Job], short: Job | AskedOfJob, slips_in: Job | str, what: str
    ) -> Job | None:
        """Ask the job that makes way for ``short``; None if none is asked now."""
        now_s = self._store.redis.time()[0]
        job = who_makes_way(running, short, self._per_hour, now_s)
        if job is None or not self._store.ask_way(
            job, f"{what} slips in", slips_in=slips_in, per_hour=self._per_hour
        ):
            return None
        logger.info(
            "job %s is asked to make way for %s",
            job.job_id,
            what,
            extra={"action": "slips_in", "job_id": job.job_id},
        )
        return job

    def _go_elsewhere(self, aside: Sequence[Job], busy: set[str], free: int) -> None:
        """A slot that is idle takes what waits for another one, which is busy, in two rounds.

        It goes on from its checkpoint there.
        """
        waits = {job.attempt_id: job for job in aside if free and job.parked_on in busy}
        for name in list(waits.keys() & self._could_go_elsewhere)[:free]:
            self._dispatcher.queue.to_head(name, self._dispatcher.slot_for(waits[name]))
        self._could_go_elsewhere = set(waits)
