"""Writes of an attempt, each guarded: one that is no longer the job's own is refused.

Whatever an attempt writes carries its number as a fencing token.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from trainyard.contract.errors import ERROR_HINTS, AttemptError, ErrorKind, ErrorReport
from trainyard.contract.statuses import OCCUPYING, JobStatus
from trainyard.log_lines import stamp
from trainyard.store.job import Job
from trainyard.store.job_reads import JobReads
from trainyard.store.keys import JobKey
from trainyard.store.scripts import script

ATTEMPT_ERRORS_KEPT, SLOT_LOSSES_MAX = 20, 10
"""A job that so many slots failed under may be why."""
_NOT_CANCELLING = OCCUPYING - {JobStatus.CANCELLING}


@dataclass(frozen=True)
class StoredEvent:
    """One event to append: its kind (one of EVENT_KINDS), its data as JSON, its log lines' count,
    and for how many lines that were cut its line stands (``lines_cut``)."""

    kind: str
    data: str
    lines: int = 0
    lines_cut: int = 0


@dataclass(frozen=True)
class Renewal:
    """What it is to do: end if not ``held`` any more, give the job back, make way (and why)."""

    held: bool
    status: str
    cancel: str
    put_back: bool = False
    make_way: str = ""


class AttemptWrites(JobReads):
    """Guarded writes of an attempt, and the one change of state that all writes go through.

    ``lease_s``: seconds for which a claim or renewal holds. ``log_lines_kept``: log lines kept
    per job. ``max_restarts``: how often a job that crashed is queued again.
    """

    def __init__(
        self, redis: Redis, *, lease_s: float, log_lines_kept: int, max_restarts: int
    ) -> None:
        super().__init__(redis)
        self.lease_ms = int(lease_s * 1000)
        self.log_lines_kept = log_lines_kept
        self.max_restarts = max_restarts
        self._transition, self._append, self._renew, self._expired = (
            script(redis, name) for name in ("transition", "append", "renew", "expired")
        )

    def claim(
        self,
        job_id: str,
        attempt: int,
        *,
        slot: str,
        worker: str,
        home: str = "",
        slot_process: str = "",
        gpus: int = 0,
    ) -> bool:
        """Take a queued attempt for ``slot`` with its ``gpus``; False if it is not to be run.

        One ``slot_process`` ("": unknown) runs one job at a time. ``worker`` is the Celery node
        name, where a revoke reaches it; ``home`` the id of the TRAINYARD_HOME that the job's files
        lie in from now on. A job with checkpoints is for slots of their home.
        """
        claim = secrets.token_hex(8)
        where = {"slot": slot, "slot_process": slot_process, "worker": worker, "home": home}
        host = slot.rpartition("-")[0]
        fields = {**where, "gpus": str(gpus), "home_host": host, "claim": claim}
        if self._change(job_id, attempt, {JobStatus.QUEUED}, JobStatus.RUNNING, fields=fields):
            return True
        # The client repeats a call whose answer was lost: the claim that stands may be ours.
        return bool(self.redis.hget(JobKey.JOB.of(job_id), "claim") == claim)

    def renew(self, job_id: str, attempt: int, energy_mj: int | None = None) -> Renewal:
        """``energy_mj``: what the attempt has used since its claim; None: nothing new is known."""
        args = [job_id, attempt, self.lease_ms, "" if energy_mj is None else energy_mj]
        return Renewal(*self._renew(args=args))

    def expired(self) -> tuple[float, list[Job]]:
        """Redis's time, and the jobs that hold a slot by their state, with a lease that ran out."""
        now_ms, job_ids = self._expired(args=[self.lease_ms])
        return int(now_ms) / 1000, self.jobs(job_ids)

    def append(
        self,
        job_id: str,
        attempt: int,
        batch: int,
        events: Sequence[StoredEvent],
        fields: Mapping[str, str] | None = None,
    ) -> bool:
        """Append events and set fields of the job; False if the attempt lost the job.

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

    def fail(
        self, job_id: str, attempt: int, error: ErrorReport, *, judged_until_s: float | None = None
    ) -> bool:
        """End the job as failed, unless its cancelling was under way: then it is cancelled."""
        return self._change(
            job_id,
            attempt,
            _NOT_CANCELLING,
            JobStatus.FAILED,
            fields={"error": error.model_dump_json(), **self._attempt_errors(job_id, error)},
            status_data={"status": JobStatus.FAILED, "error": error.message},
            judged_until_s=judged_until_s,
        ) or self.cancelled(job_id, attempt, judged_until_s=judged_until_s)

    def cancelled(self, job_id: str, attempt: int, *, judged_until_s: float | None = None) -> bool:
        """Write ``cancelled``: the flag stands, and the attempt's process tree is gone."""
        return self._change(
            job_id,
            attempt,
            {JobStatus.CANCELLING},
            JobStatus.CANCELLED,
            judged_until_s=judged_until_s,
        )

    def paused(self, job_id: str, attempt: int, fields: Mapping[str, str]) -> bool:
        """Write ``paused``: the checkpoint is proven good and the slot is free.

        ``fields`` say where it lies (``checkpoint``) and where the training is parked
        (``parked``). False if a cancel came in between.
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

    def put_back(
        self, job_id: str, attempt: int, reason: str, *, judged_until_s: float | None = None
    ) -> bool:
        """Queue a job again that its worker gave up because the worker stops."""
        queued = self._change(
            job_id,
            attempt,
            {JobStatus.RUNNING},
            JobStatus.QUEUED,
            counter="put_backs",
            line=f"Put back into the queue: {reason}",
            judged_until_s=judged_until_s,
        )
        return (
            queued
            or self._paused_after_all(job_id, attempt, reason, judged_until_s)
            or self.cancelled(job_id, attempt, judged_until_s=judged_until_s)
        )

    def lost(
        self,
        job_id: str,
        attempt: int,
        reason: str,
        kind: ErrorKind = ErrorKind.WORKER_LOST,
        *,
        judged_until_s: float | None = None,
        excused: bool = False,
    ) -> JobStatus | None:
        """An attempt crashed: queue the job again, or fail it after ``max_restarts``.

        A job that was to be paused is paused: it goes on from its last good checkpoint.
        ``judged_until_s``: who says so has only seen that the lease ran out; nothing is changed if
        it has been renewed, or if Redis's clock is past that time. ``excused``: the slot failed,
        the job is queued again whatever it has behind it (SLOT_LOSSES_MAX times).
        Returns the new state, or None if the attempt no longer held the job.
        """
        job = self.get(job_id)
        if job is None or job.attempt != attempt:
            return None
        if self._paused_after_all(job_id, attempt, reason, judged_until_s):
            return JobStatus.PAUSED
        excused = excused and job.slot_losses < SLOT_LOSSES_MAX
        if excused or job.restarts < self.max_restarts:
            counted = f"restart {job.restarts + 1} of {self.max_restarts}"
            again = "the slot's fault: no restart is counted" if excused else counted
            error = ErrorReport(kind=kind, message=reason, hint=ERROR_HINTS[kind])
            if self._change(
                job_id,
                attempt,
                {JobStatus.RUNNING},
                JobStatus.QUEUED,
                fields=self._attempt_errors(job_id, error),
                counter="slot_losses" if excused else "restarts",
                line=f"Attempt {attempt} was lost: {reason} Queued again ({again}).",
                judged_until_s=judged_until_s,
            ):
                return JobStatus.QUEUED
        else:
            error = ErrorReport(
                kind=kind,
                message=f"{reason} The job was started {attempt} times; that was the last.",
                hint=ERROR_HINTS[kind],
            )
            if self.fail(job_id, attempt, error, judged_until_s=judged_until_s):
                job = self.get(job_id)
                return job.status if job else None
        cancelled = self.cancelled(job_id, attempt, judged_until_s=judged_until_s)
        return JobStatus.CANCELLED if cancelled else None

    def _attempt_errors(self, job_id: str, error: ErrorReport) -> dict[str, str]:
        """The field that holds the errors of the newest attempts, with one more."""
        job = self.get(job_id)
        if job is None:
            return {}
        one_more = AttemptError(attempt=job.attempt, at=time.time(), **error.model_dump())
        errors = [*job.attempt_errors, one_more][-ATTEMPT_ERRORS_KEPT:]
        return {"attempt_errors": json.dumps([e.model_dump(mode="json") for e in errors])}

    def _paused_after_all(
        self, job_id: str, attempt: int, reason: str, judged_until_s: float | None = None
    ) -> bool:
        """A job whose pause was under way when its attempt ended otherwise."""
        return self._change(
            job_id,
            attempt,
            {JobStatus.PAUSING},
            JobStatus.PAUSED,
            counter="pauses",
            line=f"Paused, without a checkpoint of its last steps: {reason}",
            judged_until_s=judged_until_s,
        )

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
        judged_until_s: float | None = None,
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
                "" if judged_until_s is None else int(1000 * judged_until_s),
            ]
        )
        return int(answer[0]) == 1
