"""Dispatch of attempts from the job store to the broker: the queue that each goes to.

Any slot may run a job, except that a job with checkpoints goes on where they lie, and one that
began with another's result where that lies, or waits for that host; a parked one resumes fastest in
its own process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from celery import Celery
from redis import Redis

from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.host_waits import HostWaits
from trainyard.scheduling.queue import JobQueue, shown_as
from trainyard.scheduling.slots import Slot, SlotRegistry, SlotState
from trainyard.store.job import Job
from trainyard.store.job_store import JobStore

NEXT_AMONG = 100
"""Of so many jobs that wait, the first ones, one is chosen that may have a slot."""


class Dispatcher:
    """Sends queued jobs to the broker."""

    def __init__(self, store: JobStore, queue: JobQueue, slots: SlotRegistry) -> None:
        self.store = store
        self.queue = queue
        self.slots = slots
        self.host_waits = HostWaits(store.redis)

    def send(self, job_id: str, *, at_head: bool = False) -> None:
        """Enqueue the job's current attempt, if it is queued, not held, and its host is there."""
        job = self.store.get(job_id)
        if job is None or job.status is not JobStatus.QUEUED or job.held:
            return
        present = self.slots.present()
        if job.is_bound and job.home not in _homes(present):
            self.host_waits.note(job_id)
            return
        self.host_waits.forget(job_id)
        slot = self._slot_for(job, present)
        borrowed = job.made_way and slot == job.parked_on  # by those of priority 0, and nobody else
        shown = shown_as(job.name, job.model, job.user_id)
        self.queue.enqueue(
            job.attempt_id,
            priority=0 if borrowed else job.priority,
            slot=slot,
            at_head=at_head and not borrowed,
            shown=shown,
        )

    def goes_next(self, slot: str) -> None:
        """Let the training that is to have ``slot`` next be taken before all else that waits.

        That is the one that made way there, unless one of priority 0 waits.
        """
        present = self.slots.present()
        waiting = self.store.jobs(self.store.waiting()[:NEXT_AMONG])
        aside = [job for job in self.store.made_way() if job.parked_on in (slot, "")]
        for job in (*(job for job in waiting if not job.priority), *aside, *waiting):
            away = job.is_bound and job.home not in _homes(present)
            if not away and self._slot_for(job, present) in (None, slot):
                pinned = slot if len(_homes(present)) > 1 else None  # before those of every slot
                self.queue.to_head(job.attempt_id, pinned)
                return

    def slot_for(self, job: Job) -> str | None:
        """The only slot that should take the job; None if any may."""
        return self._slot_for(job, self.slots.present())

    def _slot_for(self, job: Job, present: Sequence[Slot]) -> str | None:
        busy = Counter(other.slot for other in self.store.jobs(self.store.occupying()))
        alive = {slot.name for slot in present if slot.state is SlotState.CONSUMING}
        # While all rest, each is waited for by what is parked there.
        resting = {slot.name for slot in present if slot.state is SlotState.RESTING}
        if job.parked_on in (alive or resting) and not busy[job.parked_on]:
            return job.parked_on
        afresh = job.from_start and not job.origin
        if not job.home or afresh or len(_homes(present)) < 2:
            return None
        # A slot that takes no jobs now is waited for: elsewhere the job would start from nothing.
        near = [slot.name for slot in present if _home(slot) == job.home]
        near = [name for name in near if name in alive] or near
        return min(near, key=lambda name: busy[name]) if near else None

    def homes(self) -> set[str]:
        """Homes whose slots are there, whether or not they take jobs now."""
        return _homes(self.slots.present())

    def files_are_reachable(self, job: Job) -> bool:
        """Whether a slot sees the job's folder; True for a job without one.

        If no slot is there at all, nothing is known against it: they may be starting.
        """
        homes = self.homes()
        return not job.home or not homes or job.home in homes

    def is_away(self, job: Job) -> bool:
        """Whether no slot sees the checkpoints, or the result, that the job is to go on from."""
        return job.is_bound and job.home not in self.homes()


def open_dispatcher(store: JobStore, celery: Celery, redis: Redis) -> Dispatcher:
    """The dispatcher to the broker of ``celery``, whose database ``redis`` is."""
    return Dispatcher(store, JobQueue(celery, redis), SlotRegistry(redis))


def _homes(slots: Sequence[Slot]) -> set[str]:
    return {_home(slot) for slot in slots}


def _home(slot: Slot) -> str:
    return str(slot.info.get("home", ""))
