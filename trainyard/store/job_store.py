"""Job store: the truth about every job, in Redis, changed only by guarded transitions.

    queued → running → pausing → paused → queued
    queued → paused            running → queued      (put back, lost by a crash, or made way)
    queued, running, pausing, paused → cancelling → cancelled
    running, pausing, cancelling → completed | failed
    running, pausing → paused          (a checkpoint that a person chose was refused)
    queued → failed                    (what it waited for did not come)

A queued job may be held: it waits for a time, or for other jobs, before it waits for its turn.

Every run of a job is an attempt with a number; whatever an attempt writes carries the number
as a fencing token, and an attempt that is no longer the job's own is refused. Times and leases
use Redis's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from redis import Redis

from trainyard.contract.errors import ErrorReport
from trainyard.contract.statuses import OCCUPYING, RESTARTABLE, RESUMABLE, TERMINAL, JobStatus
from trainyard.settings import Settings
from trainyard.store.job import Job
from trainyard.store.keys import JobKey, Key
from trainyard.store.queueing.admissions import Admissions
from trainyard.store.scripts import script


class JobStore(Admissions):
    """The whole store: reads, writes of an attempt, admissions, and here what is asked of a job."""

    def __init__(
        self, redis: Redis, *, lease_s: float, log_lines_kept: int, max_restarts: int
    ) -> None:
        super().__init__(
            redis, lease_s=lease_s, log_lines_kept=log_lines_kept, max_restarts=max_restarts
        )
        self._to_head, self._ask_way = script(redis, "to_head"), script(redis, "ask_way")

    def let_go(self, job_id: str) -> Job | None:
        """Let a held job wait for its turn now; what it goes on from is awaited nevertheless.

        Returns the job as it is then, or None if it is not queued.
        """
        job = self.get(job_id)
        fields = _let_go(job) if job else {}
        return self._requeue(job_id, {JobStatus.QUEUED}, fields)

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
        job = self.get(job_id)
        fields = {"resume_from": "", "from_start": "", **(_let_go(job) if job else {})}
        return self._requeue(job_id, RESTARTABLE, fields)

    def start_afresh(self, job_id: str) -> Job | None:
        """Queue a job from the start, on any host, whatever checkpoints it has.

        Returns the job as it is then, or None if it runs or has completed.
        """
        allowed = {JobStatus.QUEUED, *RESUMABLE, *RESTARTABLE}
        job = self.get(job_id)
        fields = {"resume_from": "", "from_start": "1", "progress": "{}"}
        fields |= _let_go(job) if job else {}
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

    def ask_way(
        self, job: Job, because: str, *, slips_in: Job | str | None = None, per_hour: int = 0
    ) -> bool:
        """Ask a running attempt to make way, for what ``slips_in`` (a job, or the id of a question
        to a model) or for nobody.

        False if it was asked before, runs no more, or makes way so no more often
        (``per_hour``), and if the other does not wait any more or has asked elsewhere.
        """
        if isinstance(slips_in, Job):
            other = (slips_in.job_id, slips_in.attempt)
        else:
            other = (slips_in or "", 0)
        return bool(self._ask_way(args=[job.job_id, job.attempt, because, *other, per_hour]))

    def make_way(self, job_id: str, attempt: int, because: str, fields: Mapping[str, str]) -> bool:
        """Queue a job again whose attempt has paused to make way; ``fields`` as of a pause.

        False if a person has asked for something else meanwhile.
        """
        return self._change(
            job_id,
            attempt,
            {JobStatus.RUNNING},
            JobStatus.QUEUED,
            fields={**fields, "made_way": because},
            counter="ways_made",
            line=f"Made way: {because}. It goes on by itself.",
        )

    def to_head(self, job_id: str) -> bool:
        """Let a waiting job run next; False if it does not wait."""
        return bool(self._to_head(args=[job_id]))

    def _move(self, job: Job, target: JobStatus, fields: Mapping[str, str] | None = None) -> bool:
        return self._change(job.job_id, job.attempt, {job.status}, target, fields=fields)


def _let_go(job: Job) -> dict[str, str]:
    """The fields of a job that runs as soon as it can."""
    origin = job.origin if job.origin in job.awaits else ""
    return {"not_before": "", "awaits": origin, "held": "1" if origin else ""}


def open_job_store(redis: Redis, settings: Settings) -> JobStore:
    """The job store as the settings want it."""
    return JobStore(
        redis,
        lease_s=settings.lease_seconds,
        log_lines_kept=settings.log_lines_kept,
        max_restarts=settings.max_restarts,
    )
