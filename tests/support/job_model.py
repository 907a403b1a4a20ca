"""Model of the job store: what every call does to a job, in plain Python and without Redis."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from trainyard.contract.statuses import OCCUPYING, REPORTED, TERMINAL, JobStatus

RUNNING, PAUSING, CANCELLING = JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING
QUEUED, PAUSED, CANCELLED = JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.CANCELLED
PRIORITY = 5


@dataclass
class ModelJob:
    """A job as far as calls can see it; ``process`` is the slot process that has claimed it."""

    order: float
    status: JobStatus = QUEUED
    attempt: int = 1
    priority: int = PRIORITY
    restarts: int = 0
    put_backs: int = 0
    pauses: int = 0
    ways_made: int = 0
    cancel: str = ""
    parked: str = ""
    process: str = ""
    expired: bool = False
    statuses: list[str] = field(default_factory=list)

    @property
    def score(self) -> float:
        return self.priority * 1e12 + self.order


class JobModel:
    """The jobs, and the calls of the store with the same names, arguments and answers."""

    def __init__(self, max_restarts: int) -> None:
        self.jobs: dict[str, ModelJob] = {}
        self.max_restarts = max_restarts
        self._order = 0

    def waiting(self) -> list[str]:
        queued = [name for name, job in self.jobs.items() if job.status is QUEUED]
        return sorted(queued, key=lambda name: self.jobs[name].score)

    def occupying(self) -> set[str]:
        return {name for name, job in self.jobs.items() if job.status in OCCUPYING}

    def expired(self) -> set[str]:
        return {name for name in self.occupying() if self.jobs[name].expired}

    def admit(self, name: str, max_queued: int) -> str:
        if name in self.jobs:
            return "same"
        if len(self.waiting()) + len(self.occupying()) >= 1 + max_queued:
            return "full"
        self._order += 1
        self.jobs[name] = ModelJob(self._order)
        return "created"

    def claim(self, name: str, attempt: int, process: str) -> bool:
        if any(job.process == process for job in self.jobs.values()):
            return False
        if not self._move(name, attempt, {QUEUED}, RUNNING):
            return False
        self.jobs[name].process = process
        return True

    def renew(self, name: str, attempt: int) -> bool:
        job = self._own(name, attempt)
        if job is None or job.status not in OCCUPYING:
            return False
        job.expired = False
        return True

    def append(self, name: str, attempt: int, parked: str) -> bool:
        job = self._own(name, attempt)
        if job is None or job.status not in OCCUPYING:
            return False
        job.parked = parked
        return True

    def expire(self, name: str) -> None:
        if name in self.occupying():
            self.jobs[name].expired = True

    def cancel(self, name: str, force: bool) -> bool:
        job = self.jobs.get(name)
        if job is None or job.status in TERMINAL:
            return False
        if job.status is CANCELLING and not force:
            return True
        if job.status in OCCUPYING or job.parked:
            self._move(name, job.attempt, {job.status}, CANCELLING)
            job.cancel = "forced" if force else "asked"
        else:
            self._move(name, job.attempt, {job.status}, CANCELLED)
        return True

    def pause(self, name: str) -> bool:
        job = self.jobs.get(name)
        if job is None or job.status not in (QUEUED, RUNNING):
            return False
        target = PAUSED if job.status is QUEUED else PAUSING
        return self._move(name, job.attempt, {job.status}, target)

    def paused(self, name: str, attempt: int, parked: str) -> bool:
        if not self._move(name, attempt, {PAUSING}, PAUSED, counter="pauses"):
            return False
        self.jobs[name].parked = parked
        return True

    def resume(self, name: str) -> bool:
        return self._again(name, {PAUSED})

    def restart(self, name: str) -> bool:
        return self._again(name, {JobStatus.FAILED, CANCELLED})

    def start_afresh(self, name: str) -> bool:
        return self._again(name, {QUEUED, PAUSED, JobStatus.FAILED, CANCELLED})

    def complete(self, name: str, attempt: int) -> bool:
        return self._move(name, attempt, OCCUPYING, JobStatus.COMPLETED)

    def fail(self, name: str, attempt: int) -> bool:
        ended = self._move(name, attempt, {RUNNING, PAUSING}, JobStatus.FAILED)
        return ended or self.cancelled(name, attempt)

    def cancelled(self, name: str, attempt: int) -> bool:
        return self._move(name, attempt, {CANCELLING}, CANCELLED)

    def resume_refused(self, name: str, attempt: int) -> bool:
        paused = self._move(name, attempt, {RUNNING, PAUSING}, PAUSED)
        return paused or self.cancelled(name, attempt)

    def make_way(self, name: str, attempt: int, parked: str) -> bool:
        if not self._move(name, attempt, {RUNNING}, QUEUED, counter="ways_made"):
            return False
        self.jobs[name].parked = parked
        return True

    def put_back(self, name: str, attempt: int) -> bool:
        return (
            self._move(name, attempt, {RUNNING}, QUEUED, counter="put_backs")
            or self._move(name, attempt, {PAUSING}, PAUSED, counter="pauses")
            or self.cancelled(name, attempt)
        )

    def lost(self, name: str, attempt: int, *, by_its_lease: bool) -> JobStatus | None:
        job = self._own(name, attempt)
        if job is None or (by_its_lease and not job.expired):
            return None
        if self._move(name, attempt, {PAUSING}, PAUSED, counter="pauses"):
            return PAUSED
        if job.restarts < self.max_restarts:
            if self._move(name, attempt, {RUNNING}, QUEUED, counter="restarts"):
                return QUEUED
        elif self._move(name, attempt, {RUNNING}, JobStatus.FAILED):
            return JobStatus.FAILED
        return CANCELLED if self.cancelled(name, attempt) else None

    def to_head(self, name: str) -> bool:
        waiting = self.waiting()
        if name not in waiting:
            return False
        first = self.jobs[waiting[0]].score
        self.jobs[name].priority, self.jobs[name].order = 0, min(first, 0) - 1
        return True

    def _own(self, name: str, attempt: int) -> ModelJob | None:
        job = self.jobs.get(name)
        return job if job is not None and job.attempt == attempt else None

    def _again(self, name: str, allowed: Collection[JobStatus]) -> bool:
        job = self.jobs.get(name)
        return job is not None and self._move(name, job.attempt, allowed, QUEUED)

    def _move(
        self,
        name: str,
        attempt: int,
        allowed: Collection[JobStatus],
        target: JobStatus,
        counter: str = "",
    ) -> bool:
        job = self._own(name, attempt)
        if job is None or job.status not in allowed:
            return False
        before, job.status = job.status, target
        if counter:
            setattr(job, counter, getattr(job, counter) + 1)
        if target in REPORTED:
            job.statuses.append(str(target))
        if target not in OCCUPYING:
            job.process = ""
        if before not in OCCUPYING:
            job.expired = False
        if target is QUEUED:
            job.attempt, job.cancel = attempt + 1, ""
            if before not in OCCUPYING:
                self._order += 1
                job.order = self._order
        return True

    def view(self) -> dict[str, Any]:
        """All that can be seen from outside."""
        return {
            name: (
                *(job.status, job.attempt, job.restarts, job.put_backs, job.pauses),
                *(job.ways_made, job.cancel, job.parked, job.statuses),
            )
            for name, job in self.jobs.items()
        }
