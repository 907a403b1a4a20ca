"""Job store: the truth about every job, in Redis, changed only by guarded transitions.

    queued → running → pausing → paused → queued
    queued → paused            running → queued      (put back by a stop, or lost by a crash)
    queued, running, pausing, paused → cancelling → cancelled
    running, pausing, cancelling → completed | failed
    running, pausing → paused          (a checkpoint that a person chose was refused)
    queued → failed                    (its host did not come back in time)

Every run of a job is an attempt with a number; whatever an attempt writes carries the number
as a fencing token, and an attempt that is no longer the job's own is refused. Times and leases
use Redis's clock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from redis import Redis

from trainyard.contract.errors import ErrorReport
from trainyard.contract.request import StartRequest
from trainyard.contract.statuses import OCCUPYING, RESTARTABLE, RESUMABLE, TERMINAL, JobStatus
from trainyard.settings import Settings
from trainyard.store.attempt_writes import AttemptWrites
from trainyard.store.job import Job
from trainyard.store.keys import JobKey, Key
from trainyard.store.scripts import script


@dataclass(frozen=True)
class AdmitResult:
    """Answer of :meth:`JobStore.admit`.

    ``verdict``: ``created``; ``same`` (this very request was admitted before); ``taken``
    (another request has the id); ``full`` (the limit of waiting and running jobs is reached).
    """

    verdict: Literal["created", "same", "taken", "full"]
    attempt: int


class JobStore(AttemptWrites):
    """The whole store: reads, writes of an attempt, and here what is asked from outside."""

    def __init__(
        self, redis: Redis, *, lease_s: float, log_lines_kept: int, max_restarts: int
    ) -> None:
        super().__init__(
            redis, lease_s=lease_s, log_lines_kept=log_lines_kept, max_restarts=max_restarts
        )
        self._admit, self._to_head = script(redis, "admit"), script(redis, "to_head")

    def admit(
        self,
        request: StartRequest,
        *,
        slots: int,
        max_queued: int | None = None,
        origin: Job | None = None,
        reported: bool = True,
    ) -> AdmitResult:
        """Admit a job in one atomic step that also counts; it runs where its ``origin`` lies.

        ``reported``: False if no backend knows of it, and none is told.

        Refused as ``full`` if running + queued jobs are ``slots + max_queued`` or more.
        """
        document = json.dumps(request.without_secrets(), sort_keys=True)
        fields = {
            "name": request.name or "",
            "user_id": request.user_id or "",
            "model": request.config.model.name,
            "dataset": request.trains_on or "(inline)",
            "method": request.config.training.method,
            "batch_size": str(request.config.training.batch_size),
        }
        if origin is not None:
            fields |= {
                "origin": origin.job_id,
                "home": origin.home,
                "home_host": origin.home_host,
            }
        verdict, attempt = self._admit(
            args=[
                request.execution_id,
                hashlib.sha256(document.encode()).hexdigest(),
                document,
                request.job_token.get_secret_value() if reported else "",
                json.dumps(fields),
                slots,
                "" if max_queued is None else max_queued,
                request.priority,
                url.get_secret_value() if (url := request.whole_dataset_path) else "",
            ]
        )
        return AdmitResult(verdict, int(attempt))

    def cancel(self, job_id: str, *, force: bool = False) -> Job | None:
        """Cancel a waiting or paused job at once; ask a running or parked one to.

        Returns the job as it was before, or None if nothing was changed because the job
        is unknown or has ended. The caller removes a job that was queued from the broker.
        """
        while True:
            job = self.get(job_id)
            if job is None or job.status in TERMINAL:
                return None
            if job.status is JobStatus.CANCELLING and not force:
                return job  # asked before; 'forced' must not fall back to 'asked'
            if job.status in OCCUPYING or job.parked:
                flag = {"cancel": "forced" if force else "asked"}
                done = self._move(job, JobStatus.CANCELLING, fields=flag)
            else:
                done = self._move(job, JobStatus.CANCELLED)
            if done:
                return job

    def pause(self, job_id: str) -> Job | None:
        """Pause a waiting job at once; ask a running one to.

        Returns the job as it was before, or None if it neither waits nor runs.
        """
        while True:
            job = self.get(job_id)
            if job is None or job.status not in (JobStatus.QUEUED, JobStatus.RUNNING):
                return None
            waits = job.status is JobStatus.QUEUED
            if self._move(job, JobStatus.PAUSED if waits else JobStatus.PAUSING):
                return job

    def resume(self, job_id: str, resume_from: str | None = None) -> Job | None:
        """Queue a paused job again, as a new attempt.

        ``resume_from`` names a checkpoint relative to the job folder; the latest if None.
        Returns the job as it is then, or None if it is not paused.
        """
        fields = {"resume_from": resume_from or ""}
        return self._requeue(job_id, RESUMABLE, fields)

    def restart(self, job_id: str) -> Job | None:
        """Queue a failed or cancelled job again, from its last good checkpoint.

        Returns the job as it is then, or None if it has not failed and is not cancelled.
        """
        fields = {"resume_from": "", "from_start": ""}
        return self._requeue(job_id, RESTARTABLE, fields)

    def start_afresh(self, job_id: str) -> Job | None:
        """Queue a job from the start, on any host, whatever checkpoints it has.

        Returns the job as it is then, or None if it runs or has completed.
        """
        allowed = {JobStatus.QUEUED, *RESUMABLE, *RESTARTABLE}
        fields = {"resume_from": "", "from_start": "1", "progress": "{}"}
        return self._requeue(job_id, allowed, fields)

    def give_up_waiting(self, job_id: str, attempt: int, error: ErrorReport) -> bool:
        """End a queued job as failed: what it waits for did not come."""
        return self._change(
            job_id,
            attempt,
            {JobStatus.QUEUED},
            JobStatus.FAILED,
            fields={"error": error.model_dump_json(), **self._attempt_errors(job_id, error)},
            status_data={"status": JobStatus.FAILED, "error": error.message},
        )

    def _requeue(
        self, job_id: str, allowed: Collection[JobStatus], fields: Mapping[str, str]
    ) -> Job | None:
        job = self.get(job_id)
        if job is None or job.status not in allowed:
            return None
        if not self._change(job_id, job.attempt, allowed, JobStatus.QUEUED, fields=fields):
            return None
        return self.get(job_id)

    def ask_put_back(self, name: str) -> list[str]:
        """Ask the attempts on a slot, or on every slot of a host, to give their jobs back.

        Each writes a checkpoint, if it can in time. Returns the ids of their jobs.
        """
        there = [
            job
            for job in self.jobs(self.occupying())
            if job.status is JobStatus.RUNNING and name in (job.slot, job.home_host)
        ]
        for job in there:
            self.redis.hset(JobKey.JOB.of(job.job_id), "put_back", job.attempt)
            self.redis.publish(Key.ASKED, job.job_id)
        return [job.job_id for job in there]

    def to_head(self, job_id: str) -> bool:
        """Let a waiting job run next; False if it does not wait."""
        return bool(self._to_head(args=[job_id]))

    def _move(self, job: Job, target: JobStatus, fields: Mapping[str, str] | None = None) -> bool:
        return self._change(job.job_id, job.attempt, {job.status}, target, fields=fields)


def open_job_store(redis: Redis, settings: Settings) -> JobStore:
    """The job store as the settings want it."""
    return JobStore(
        redis,
        lease_s=settings.lease_seconds,
        log_lines_kept=settings.log_lines_kept,
        max_restarts=settings.max_restarts,
    )
