"""The job store: the truth about every job, in Redis, changed only by guarded transitions.

    queued → running → pausing → paused → queued
    queued → paused            running → queued      (put back by a stop, or lost by a crash)
    queued, running, pausing, paused → cancelling → cancelled
    running, pausing, cancelling → completed | failed
    running, pausing → paused          (a checkpoint that a person chose was refused)

Every run of a job is an attempt with a number; whatever an attempt writes carries the number
as a fencing token, and an attempt that is no longer the job's own is refused. Times and leases
use Redis's clock.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import SecretStr
from redis import Redis

from trainyard.contract.errors import ERROR_HINTS, AttemptError, ErrorKind, ErrorReport
from trainyard.contract.request import StartRequest
from trainyard.contract.statuses import OCCUPYING, TERMINAL, JobStatus
from trainyard.log_lines import stamp
from trainyard.settings import Settings
from trainyard.store.job import Job
from trainyard.store.keys import JobKey, Key
from trainyard.store.scripts import script

ATTEMPT_ERRORS_KEPT = 20
_NOT_CANCELLING = OCCUPYING - {JobStatus.CANCELLING}


@dataclass(frozen=True)
class StoredEvent:
    """One event to append: its kind (one of EVENT_KINDS), its data as JSON, its log lines' count.

    ``lines_cut``: for how many lines that were cut its line stands.
    """

    kind: str
    data: str
    lines: int = 0
    lines_cut: int = 0


@dataclass(frozen=True)
class Admission:
    """Answer of :meth:`JobStore.admit`.

    ``verdict``: ``created``; ``same`` (this very request was admitted before); ``taken``
    (another request has the id); ``full`` (the limit of waiting and running jobs is reached).
    """

    verdict: Literal["created", "same", "taken", "full"]
    attempt: int


@dataclass(frozen=True)
class Lease:
    """Answer of :meth:`JobStore.renew`; ``held`` is False where another attempt has the job."""

    held: bool
    status: str
    cancel: str


class JobStore:
    """Reads and guarded writes of jobs. ``redis`` must decode responses to str.

    ``lease_s``: seconds for which a claim or renewal holds. ``log_lines_kept``: log lines kept
    per job. ``max_restarts``: how often a job that crashed is queued again.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        lease_s: float = 30,
        log_lines_kept: int = 10_000,
        max_restarts: int = 2,
    ) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self.lease_ms = int(lease_s * 1000)
        self.log_lines_kept = log_lines_kept
        self.max_restarts = max_restarts
        self._admit, self._transition, self._append, self._renew, self._to_head = (
            script(redis, name) for name in ("admit", "transition", "append", "renew", "to_head")
        )

    # ------------------------------------------------------------ reads

    def get(self, job_id: str) -> Job | None:
        raw = self.redis.hgetall(JobKey.JOB.of(job_id))
        return Job.from_hash(raw) if raw else None

    def jobs(self, job_ids: Iterable[str] | None = None) -> list[Job]:
        """The named jobs, or all of them, oldest first."""
        if job_ids is None:
            job_ids = self._members(Key.JOBS)
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(JobKey.JOB.of(job_id))
        return [Job.from_hash(raw) for raw in pipe.execute() if raw]

    def statuses(self) -> list[str]:
        """The state of every job."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in self._members(Key.JOBS):
            pipe.hget(JobKey.JOB.of(job_id), "status")
        return [status for status in pipe.execute() if status]

    def waiting(self) -> list[str]:
        """Ids of the queued jobs, next first."""
        return self._members(Key.WAITING)

    def waiting_count(self) -> int:
        return int(self.redis.zcard(Key.WAITING))

    def occupying_count(self) -> int:
        return int(self.redis.zcard(Key.OCCUPYING))

    def occupying(self) -> list[str]:
        """Ids of the jobs that may hold a slot."""
        return self._members(Key.OCCUPYING)

    def _members(self, key: str) -> list[str]:
        members: list[str] = self.redis.zrange(key, 0, -1)
        return members

    def queue_position(self, job_id: str) -> int | None:
        """1 for the job that runs next; None for a job that does not wait."""
        rank = self.redis.zrank(Key.WAITING, job_id)
        return None if rank is None else int(rank) + 1

    def recent_durations_s(self) -> list[float]:
        """How long the last completed jobs took from their first start, newest first."""
        return [int(ms) / 1000 for ms in self.redis.lrange(Key.DURATIONS, 0, -1)]

    def request(self, job_id: str) -> dict[str, Any]:
        """The job's normalised request, without secrets. Raises KeyError for no such job."""
        raw = self.redis.get(JobKey.REQUEST.of(job_id))
        if raw is None:
            raise KeyError(job_id)
        document: dict[str, Any] = json.loads(raw)
        return document

    def token(self, job_id: str) -> SecretStr | None:
        """The job's token at the backend, for nothing but to know it where it leaks."""
        token = self.redis.get(JobKey.TOKEN.of(job_id))
        return SecretStr(token) if token else None

    def redis_uptime_s(self) -> float:
        """How long this Redis server has been running."""
        return float(self.redis.info("server")["uptime_in_seconds"])

    def expired(self) -> list[Job]:
        """Jobs that hold a slot by their state while their lease has run out."""
        seconds, micros = self.redis.time()
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        return self.jobs(self.redis.zrangebyscore(Key.OCCUPYING, 0, now_ms))

    # ------------------------------------------------------------ writes of the bridge

    def admit(
        self, request: StartRequest, *, slots: int, max_queued: int | None = None
    ) -> Admission:
        """Admit a job in one atomic step that also counts.

        Refused as ``full`` where running + queued jobs are ``slots + max_queued`` or more.
        """
        document = json.dumps(request.without_secrets(), sort_keys=True)
        fields = {
            "name": request.name or "",
            "user_id": request.user_id or "",
            "model": request.config.model.name,
            "dataset": request.dataset_path or "(inline)",
            "method": request.config.training.method,
        }
        verdict, attempt = self._admit(
            args=[
                request.execution_id,
                hashlib.sha256(document.encode()).hexdigest(),
                document,
                request.job_token.get_secret_value(),
                json.dumps(fields),
                slots,
                "" if max_queued is None else max_queued,
                request.priority,
            ]
        )
        return Admission(verdict, int(attempt))

    def cancel(self, job_id: str, *, force: bool = False) -> Job | None:
        """Cancel a waiting or paused job at once; ask a running or parked one to.

        Returns the job as it was before, or None where nothing was changed because the job
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

        Returns the job as it was before, or None where it neither waits nor runs.
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

        ``resume_from`` names a checkpoint relative to the job folder; the latest where None.
        Returns the job as it is then, or None where it is not paused.
        """
        fields = {"resume_from": resume_from or ""}
        return self._requeue(job_id, {JobStatus.PAUSED}, fields)

    def restart(self, job_id: str, *, from_start: bool) -> Job | None:
        """Queue a failed or cancelled job again, from its last good checkpoint or the start.

        Returns the job as it is then, or None where it has not failed and is not cancelled.
        """
        fields = {"resume_from": "", "from_start": "1" if from_start else ""}
        return self._requeue(job_id, {JobStatus.FAILED, JobStatus.CANCELLED}, fields)

    def _requeue(
        self, job_id: str, allowed: set[JobStatus], fields: Mapping[str, str]
    ) -> Job | None:
        job = self.get(job_id)
        if job is None or job.status not in allowed:
            return None
        if not self._change(job_id, job.attempt, allowed, JobStatus.QUEUED, fields=fields):
            return None
        return self.get(job_id)

    def to_head(self, job_id: str) -> bool:
        """Let a waiting job run next; False where it does not wait."""
        return bool(self._to_head(args=[job_id]))

    # ------------------------------------------------------------ writes of an attempt

    def claim(self, job_id: str, attempt: int, *, slot: str, worker: str, home: str = "") -> bool:
        """Take a queued attempt for ``slot``, with a lease; False where it is not to be run.

        ``worker`` is the Celery node name, where a revoke reaches it; ``home`` the id of the
        TRAINYARD_HOME that the job's files lie in from now on.
        """
        claim = secrets.token_hex(8)
        if self._change(
            job_id,
            attempt,
            {JobStatus.QUEUED},
            JobStatus.RUNNING,
            fields={"slot": slot, "worker": worker, "home": home, "claim": claim},
        ):
            return True
        # The client repeats a call whose answer was lost: the claim that stands may be ours.
        return bool(self.redis.hget(JobKey.JOB.of(job_id), "claim") == claim)

    def renew(self, job_id: str, attempt: int) -> Lease:
        held, status, cancel = self._renew(args=[job_id, attempt, self.lease_ms])
        return Lease(bool(held), status, cancel)

    def append(
        self,
        job_id: str,
        attempt: int,
        batch: int,
        events: Sequence[StoredEvent],
        fields: Mapping[str, str] | None = None,
    ) -> bool:
        """Append events and set fields of the job; False where the attempt lost the job.

        ``batch`` counts an attempt's calls from 1: the same number again changes nothing, so
        that a call whose answer was lost can be repeated.
        """
        args: list[Any] = [job_id, attempt, batch, self.log_lines_kept, json.dumps(fields or {})]
        for event in events:
            args += [event.kind, event.data, event.lines, event.lines_cut]
        return bool(self._append(args=args))

    def complete(self, job_id: str, attempt: int, result: Mapping[str, Any]) -> bool:
        fields = {"result": json.dumps(result)}
        return self._change(job_id, attempt, OCCUPYING, JobStatus.COMPLETED, fields=fields)

    def fail(self, job_id: str, attempt: int, error: ErrorReport) -> bool:
        """End the job as failed, unless its cancelling was under way: then it is cancelled."""
        return self._change(
            job_id,
            attempt,
            _NOT_CANCELLING,
            JobStatus.FAILED,
            fields={"error": error.model_dump_json(), **self._attempt_errors(job_id, error)},
            status_data={"status": JobStatus.FAILED, "error": error.message},
        ) or self.cancelled(job_id, attempt)

    def cancelled(self, job_id: str, attempt: int) -> bool:
        """Write ``cancelled``: the flag stands, and the attempt's process tree is gone."""
        return self._change(job_id, attempt, {JobStatus.CANCELLING}, JobStatus.CANCELLED)

    def paused(self, job_id: str, attempt: int, fields: Mapping[str, str]) -> bool:
        """Write ``paused``: the checkpoint is proven good and the slot is free.

        ``fields`` say where it lies (``checkpoint``) and where the training is parked
        (``parked``). False where a cancel came in between.
        """
        return self._change(
            job_id, attempt, {JobStatus.PAUSING}, JobStatus.PAUSED, fields=fields, counter="pauses"
        )

    def resume_refused(self, job_id: str, attempt: int, error: ErrorReport) -> bool:
        """Pause a job again that cannot go on from the checkpoint that a person chose.

        The choice is forgotten: the next resume goes on from where the job was paused.
        """
        line = f"The resume was refused, the job stays paused: {error.message} {error.hint}"
        return self._change(
            job_id,
            attempt,
            _NOT_CANCELLING,
            JobStatus.PAUSED,
            fields={"resume_from": "", "error": error.model_dump_json()},
            status_data={"status": JobStatus.PAUSED, "error": error.message},
            line=line,
        ) or self.cancelled(job_id, attempt)

    def put_back(self, job_id: str, attempt: int, reason: str) -> bool:
        """Queue a job again that its worker gave up because the worker stops."""
        queued = self._change(
            job_id,
            attempt,
            {JobStatus.RUNNING},
            JobStatus.QUEUED,
            counter="put_backs",
            line=f"Put back into the queue: {reason}",
        )
        return (
            queued
            or self._paused_after_all(job_id, attempt, reason)
            or self.cancelled(job_id, attempt)
        )

    def lost(
        self,
        job_id: str,
        attempt: int,
        reason: str,
        kind: ErrorKind = ErrorKind.WORKER_LOST,
    ) -> JobStatus | None:
        """An attempt crashed: queue the job again, or fail it after ``max_restarts``.

        A job that was to be paused is paused: it goes on from its last good checkpoint.
        Returns the new state, or None where the attempt no longer held the job.
        """
        job = self.get(job_id)
        if job is None or job.attempt != attempt:
            return None
        if self._paused_after_all(job_id, attempt, reason):
            return JobStatus.PAUSED
        if job.restarts < self.max_restarts:
            again = f"restart {job.restarts + 1} of {self.max_restarts}"
            error = ErrorReport(kind=kind, message=reason, hint=ERROR_HINTS[kind])
            if self._change(
                job_id,
                attempt,
                {JobStatus.RUNNING},
                JobStatus.QUEUED,
                fields=self._attempt_errors(job_id, error),
                counter="restarts",
                line=f"Attempt {attempt} was lost: {reason} Queued again ({again}).",
            ):
                return JobStatus.QUEUED
        else:
            error = ErrorReport(
                kind=kind,
                message=f"{reason} The job was started {attempt} times; that was the last.",
                hint=ERROR_HINTS[kind],
            )
            if self.fail(job_id, attempt, error):
                job = self.get(job_id)
                return job.status if job else None
        return JobStatus.CANCELLED if self.cancelled(job_id, attempt) else None

    def _attempt_errors(self, job_id: str, error: ErrorReport) -> dict[str, str]:
        """The field that holds the errors of the newest attempts, with one more."""
        job = self.get(job_id)
        if job is None:
            return {}
        one_more = AttemptError(attempt=job.attempt, at=time.time(), **error.model_dump())
        errors = [*job.attempt_errors, one_more][-ATTEMPT_ERRORS_KEPT:]
        return {"attempt_errors": json.dumps([e.model_dump(mode="json") for e in errors])}

    def _paused_after_all(self, job_id: str, attempt: int, reason: str) -> bool:
        """A job whose pause was under way when its attempt ended otherwise."""
        return self._change(
            job_id,
            attempt,
            {JobStatus.PAUSING},
            JobStatus.PAUSED,
            counter="pauses",
            line=f"Paused, without a checkpoint of its last steps: {reason}",
        )

    # ------------------------------------------------------------ the one door to the script

    def _move(self, job: Job, target: JobStatus, fields: Mapping[str, str] | None = None) -> bool:
        return self._change(job.job_id, job.attempt, {job.status}, target, fields=fields)

    def _change(
        self,
        job_id: str,
        attempt: int,
        allowed: Iterable[JobStatus],
        target: JobStatus,
        *,
        fields: Mapping[str, str] | None = None,
        line: str = "",
        status_data: Mapping[str, str] | None = None,
        counter: str = "",
    ) -> bool:
        events = [["log", json.dumps([stamp(line)]), 1]] if line else []
        answer = self._transition(
            args=[
                job_id,
                attempt,
                "," + ",".join(allowed) + ",",
                target,
                json.dumps(fields or {}),
                json.dumps(events),
                json.dumps(status_data or {"status": target}),
                counter,
                self.lease_ms,
                self.log_lines_kept,
            ]
        )
        return int(answer[0]) == 1


def open_job_store(redis: Redis, settings: Settings) -> JobStore:
    """The job store as the settings want it."""
    return JobStore(
        redis,
        lease_s=settings.lease_seconds,
        log_lines_kept=settings.log_lines_kept,
        max_restarts=settings.max_restarts,
    )
