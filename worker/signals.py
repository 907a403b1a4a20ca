"""Signals of Celery, each translated into one call on the job store. They decide nothing.

In the pool child: ``task_prerun`` claims, ``task_success`` writes the outcome that the task
returned, ``task_failure`` writes why it failed. In the main process: ``task_revoked`` sets the
cancel flag (a person's act in Flower is a cancel), and ``task_failure`` with WorkerLostError
means that the pool child died.

An exception in a handler is swallowed by Celery, so none may depend on being heard: the claim
is checked again before the task's body (``tasks.train``), and what could not be written while
Redis was away is written when it is back.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import signals
from celery.worker import state as worker_state
from redis.exceptions import RedisError

from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.names import TASK_TRAIN, ContractError, attempt_id, parse_attempt_id
from trainyard.contract.statuses import JobStatus
from trainyard.redaction import redactor_of
from trainyard.settings import settings
from trainyard.store.job import Job
from trainyard.store.unsent_records import send_unsent
from worker.slot import dispatcher, job_store, slot, stops, until_redis_answers
from worker.slot_process.client import SlotUnavailable, release_parked
from worker.supervisor.attempt_end import (
    AttemptCancelled,
    AttemptCompleted,
    AttemptLetGo,
    AttemptMadeWay,
    AttemptPaused,
    AttemptPutBack,
    Rest,
    ResumeRefused,
    read_end,
)
from worker.supervisor.loss import AttemptFailed, AttemptLost

GONE_TIMEOUT_S = 2.0
"""How long the main process waits for a killed attempt's processes to be gone."""

logger = logging.getLogger(__name__)
_claimed: dict[str, Job] = {}
_lost_here: set[str] = set()
"""In the pool child: jobs whose attempts were lost since one ended as attempts should."""


def claimed(task_id: str) -> Job | None:
    """The job of an attempt that this process has claimed, as it was before; else None."""
    return _claimed.get(task_id)


@signals.task_prerun.connect
def claim(task_id: str, task: Any, **_: Any) -> None:
    """task_prerun → claim the attempt for this slot."""
    if task.name != TASK_TRAIN:
        return
    job_id, attempt = parse_attempt_id(task_id)
    before = until_redis_answers(lambda: job_store().get(job_id))
    here: Any = {
        "slot": slot().name,
        "slot_process": slot().socket_name,
        "worker": task.request.hostname,
        "home": slot().home,
        "gpus": slot().gpus,
    }
    if before and until_redis_answers(lambda: job_store().claim(job_id, attempt, **here)):
        _claimed[task_id] = before
        _end_parked_elsewhere(before)


@signals.task_postrun.connect
def forget(task_id: str, **_: Any) -> None:
    """task_postrun → the claim has done its work; no other job comes before a doubt is heard."""
    _claimed.pop(task_id, None)
    slot().doubt.wait_until_heard(give_up=stops)


@signals.task_success.connect
def write_outcome(sender: Any, result: Any, **_: Any) -> None:
    """task_success → the outcome that the task returned."""
    if sender.name != TASK_TRAIN or result is None:
        return
    job_id, attempt = parse_attempt_id(sender.request.id)
    store, end = job_store(), read_end(result)
    if isinstance(end, AttemptCompleted | AttemptPaused | AttemptMadeWay):
        _ended_well()
    match end:
        case AttemptCompleted(result=figures):
            until_redis_answers(lambda: store.complete(job_id, attempt, figures))
        case AttemptCancelled():
            until_redis_answers(lambda: store.cancelled(job_id, attempt))
        case AttemptPaused(rest=rest):
            _write_pause(job_id, attempt, rest)
        case AttemptMadeWay(rest=rest, because=why):
            _write_way(job_id, attempt, rest, why)
        case ResumeRefused(report=report):
            until_redis_answers(lambda: store.resume_refused(job_id, attempt, report))
        case AttemptPutBack(because=why):
            if until_redis_answers(lambda: store.put_back(job_id, attempt, f"{why}.")):
                _send(job_id)
        case AttemptLetGo():
            return  # another attempt writes, or the reaper


@signals.task_failure.connect
def write_failure(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    """task_failure → failed with its reason, or lost if the attempt ended without a word."""
    if sender.name != TASK_TRAIN:
        return
    job_id, attempt = parse_attempt_id(task_id)
    store = job_store()
    match exception:
        case AttemptFailed():
            report = ErrorReport.model_validate_json(exception.report)
            if report.kind is ErrorKind.DISK_FULL:
                slot().doubt.arise()  # on a disk without any room the next one would fail as well
            elif report.kind is not ErrorKind.INTERNAL:
                _ended_well()
            until_redis_answers(lambda: store.fail(job_id, attempt, report))
        case AttemptLost():
            _lost(job_id, attempt, exception)
        case SlotUnavailable():
            _lost(job_id, attempt, AttemptLost(f"{exception}.", of_slot=True))
        case WorkerLostError():
            _pool_child_died(job_id, attempt)
        case _:
            report = ErrorReport(
                kind=ErrorKind.INTERNAL,
                message=f"The supervisor failed: {type(exception).__name__}: {exception}",
                hint="This is a defect of Trainyard: the worker's log has the traceback.",
            )
            report = redactor_of(settings(), os.environ).report(report)
            until_redis_answers(lambda: store.fail(job_id, attempt, report))


@signals.task_revoked.connect
def cancel_revoked(request: Any, terminated: bool, **_: Any) -> None:
    """task_revoked → the cancel flag; ``cancelled`` if the processes are proven gone.

    Runs in the main process, which must not wait for long. What it cannot write now the
    supervisor or, when the lease has run out, the reaper writes.
    """
    try:
        job_id, attempt = parse_attempt_id(request.id)
        if terminated and request.id not in worker_state.revoked:
            # Billiard remembers that a pool child was once told to end. That one outlived the
            # cancel of an earlier job, and was killed now: nobody asked to cancel this job.
            _pool_child_died(job_id, attempt)
            return
        store = job_store()
        job = store.get(job_id)
        if job is None or job.attempt != attempt:
            return
        store.cancel(job_id, force=terminated)
        if terminated and release_parked(slot().socket_name, request.id, GONE_TIMEOUT_S):
            _send_unsent(job_id, attempt)
            store.cancelled(job_id, attempt)
    except (ContractError, RedisError, SlotUnavailable) as error:
        logger.warning(
            "revoke of %s: %s", request.id, error, extra=_about(request.id, "revoke_failed")
        )


def cancel_waiting(revoked: str) -> None:
    """In the main process, on a revoke: cancel an attempt that waits, whether or not it ever comes
    here. Raises RedisError.
    """
    try:
        job_id, attempt = parse_attempt_id(revoked)
    except ContractError:
        return  # no attempt of ours
    job = job_store().get(job_id)
    if job is not None and job.attempt == attempt and job.status is JobStatus.QUEUED:
        job_store().cancel(job_id)
        dispatcher().queue.remove(revoked)


def end_parked(parked: str) -> None:
    """In the main process, on a broadcast: the parked attempt is not wanted any more.

    If its job is being cancelled, it is cancelled when the processes are gone.
    """
    try:
        job_id, attempt = parse_attempt_id(parked)
        if release_parked(slot().socket_name, parked, GONE_TIMEOUT_S):
            job = job_store().get(job_id)
            if job is not None and job.parked == parked and _only_parked(job, attempt):
                job_store().cancelled(job_id, job.attempt)
    except (ContractError, RedisError, SlotUnavailable) as error:
        logger.warning("parked %s: %s", parked, error, extra=_about(parked, "release_failed"))


def _only_parked(job: Job, attempt: int) -> bool:
    """Whether a job that is being cancelled had no process but the parked one of ``attempt``.

    A later attempt may run on another slot, unless no slot had taken it yet.
    """
    return job.status is JobStatus.CANCELLING and (job.attempt == attempt or not job.slot)


def _end_parked_elsewhere(job: Job) -> None:
    """The job goes on without the process that waits for it: nobody else would end that one."""
    if job.parked and job.parked_at(slot().name) is None:
        try:
            dispatcher().queue.release_parked(job.parked, job.parked_worker)
        except RedisError as error:
            logger.warning(
                "parked %s is left to its time limit: %s",
                job.parked,
                error,
                extra={"action": "release_failed", "job_id": job.job_id},
            )


def _write_way(job_id: str, attempt: int, rest: Rest, because: str) -> None:
    store, fields = job_store(), rest.model_dump()
    if not until_redis_answers(lambda: store.make_way(job_id, attempt, because, fields)):
        now = until_redis_answers(lambda: store.get(job_id))
        if now is None or now.attempt == attempt or now.parked != rest.parked:
            _write_pause(job_id, attempt, rest)  # a person has asked for something meanwhile
            return
        # It is written: the answer was lost, and the call repeated.
    _send(job_id)


def _write_pause(job_id: str, attempt: int, rest: Rest) -> None:
    store, fields = job_store(), rest.model_dump()
    if until_redis_answers(lambda: store.paused(job_id, attempt, fields)):
        return
    # A cancel came in between. Without proof of the end the reaper writes it.
    if not rest.parked or release_parked(slot().socket_name, rest.parked, GONE_TIMEOUT_S):
        until_redis_answers(lambda: store.cancelled(job_id, attempt))


def _ended_well() -> None:
    slot().doubt.trusted()
    _lost_here.clear()


def _lost(job_id: str, attempt: int, loss: AttemptLost) -> None:
    """The slot is to prove itself. A job is excused if it was lost just after another one here."""
    _lost_here.add(job_id)
    slot().doubt.lost()
    excused = loss.of_slot or len(_lost_here) > 1
    if (
        until_redis_answers(
            lambda: job_store().lost(job_id, attempt, str(loss), loss.kind, excused=excused)
        )
        is JobStatus.QUEUED
    ):
        _send(job_id)


def _pool_child_died(job_id: str, attempt: int) -> None:
    """In the main process: the keeper has ended the training when its supervisor died.

    One that had parked by then is ended here: perhaps no pause was written, and nobody would come.
    """
    slot().doubt.lost()
    try:
        if not release_parked(slot().socket_name, attempt_id(job_id, attempt), GONE_TIMEOUT_S):
            return  # the lease runs out, and the reaper sees to it
        _send_unsent(job_id, attempt)
        lost = job_store().lost(job_id, attempt, "Its supervisor was killed.")
        if lost is JobStatus.QUEUED:
            _send(job_id)
    except (RedisError, SlotUnavailable) as error:
        logger.warning(
            "job %s: %s", job_id, error, extra={"action": "loss_not_written", "job_id": job_id}
        )


def _send_unsent(job_id: str, attempt: int) -> None:
    """The supervisor is gone: what it could not send is in the job's folder."""
    job = job_store().get(job_id)
    if job is not None and job.attempt == attempt and job.home == slot().home:
        send_unsent(job_store(), job, settings().job_dir(job_id))


def _send(job_id: str) -> None:
    """A job that has waited before goes before the others of its priority."""
    until_redis_answers(lambda: dispatcher().send(job_id, at_head=True))


def _about(attempt: str, action: str) -> dict[str, str]:
    """Fields of a log line about an attempt, whose name may be anything that a person revoked."""
    return {"action": action, "job_id": attempt.rpartition(":")[0]}
