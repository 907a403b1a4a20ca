"""Control of jobs: pause, resume, cancel, start now. One result for every caller."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from redis.exceptions import RedisError

from backend_bridge.intake.chosen_checkpoint import reason_against
from trainyard.contract.job_folder import checkpoint_path
from trainyard.contract.names import attempt_id
from trainyard.contract.statuses import OCCUPYING, RESUMABLE, JobStatus, group_status
from trainyard.scheduling.dispatch import Dispatcher
from trainyard.scheduling.host_waits import waits_for
from trainyard.store.job import Job
from trainyard.store.job_files import JobFiles
from trainyard.store.queueing.holds import held_for

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ControlResult:
    """Whether it took effect, a sentence, and the state before (None: there is no such job)."""

    success: bool
    message: str
    previous_status: str | None
    checkpoint: str | None = None
    queue_position: int | None = None


def no_such_job(job_id: str) -> str:
    """The sentence for whoever asks for a job that is not there."""
    return f"there is no job {job_id!r}; `trainyard ps` or GET /api/training/jobs lists them"


def a_sweep(group: str) -> str:
    """The sentence for whoever asks of a sweep what only a job can tell or do."""
    return f"{group} is a sweep: `trainyard sweep {group}` shows its jobs"


class JobControl:
    """Acts on jobs by name, or on all jobs of a sweep by its name.

    The job store is what counts. What goes to the broker after it only makes somebody look at
    once: a supervisor looks every second anyway, a claim refuses a message that should not
    be there, and the reaper sends what is missing. So an answer does not depend on the broker,
    whose pooled connections are dead after a restart of Redis until they are used.
    """

    def __init__(self, dispatcher: Dispatcher, files: JobFiles) -> None:
        self.dispatcher = dispatcher
        self.store = dispatcher.store
        self.queue = dispatcher.queue
        self.files = files

    def cancel(self, job_id: str, *, force: bool = False) -> ControlResult:
        """Cancel at once what does not run; ask what runs, and with ``force`` kill it."""
        if jobs := self.store.group(job_id):
            did = "are cancelled, or stop at their next step"
            return _of_all(job_id, jobs, did, lambda one: self.cancel(one, force=force))
        before = self.store.cancel(job_id, force=force)
        if before is None:
            return self._refused(job_id, "has already ended")
        run = attempt_id(job_id, before.attempt)
        if before.status in OCCUPYING and force:
            with _only_a_hint(job_id):
                self.queue.revoke(run, before.worker)
            return ControlResult(True, f"job {job_id} is being killed", before.status)
        if before.status in OCCUPYING:
            return ControlResult(True, f"job {job_id} stops at its next step", before.status)
        with _only_a_hint(job_id):
            self.queue.remove(run)
        if before.parked:
            with _only_a_hint(job_id):
                self.queue.release_parked(before.parked, before.parked_worker)
            return ControlResult(
                True, f"job {job_id} is cancelled; its process ends", before.status
            )
        return ControlResult(True, f"job {job_id} is cancelled", before.status)

    def pause(self, job_id: str) -> ControlResult:
        """Pause at once what waits; ask what runs to finish its step and write a checkpoint."""
        if jobs := self.store.group(job_id):
            did = "are paused, or pause when their checkpoint is written and verified"
            return _of_all(job_id, jobs, did, self.pause)
        before = self.store.pause(job_id)
        if before is None:
            return self._refused(job_id, "cannot be paused")
        if before.status is JobStatus.QUEUED:
            with _only_a_hint(job_id):
                self.queue.remove(before.attempt_id)
            return ControlResult(True, f"job {job_id} is paused before its turn", before.status)
        return ControlResult(
            True, f"job {job_id} pauses when its checkpoint is written and verified", before.status
        )

    def resume(self, job_id: str, checkpoint: str | None = None) -> ControlResult:
        """Queue a paused job again, from ``checkpoint`` or from where it was paused.

        A checkpoint that cannot be gone on from is refused, and the job stays paused.
        """
        if jobs := self.store.group(job_id):
            return self._resume_all(job_id, jobs, checkpoint)
        job = self.store.get(job_id)
        if job is None or job.status not in RESUMABLE:
            return self._refused(job_id, _CANNOT_BE_RESUMED)
        chosen_job = replace(job, resume_from=checkpoint or "")
        is_away = self.dispatcher.is_away(chosen_job)
        chosen = None
        if checkpoint:
            gone = f"the host with its checkpoints is not there, {checkpoint} cannot be read"
            reason = gone if is_away else reason_against(job, checkpoint, self.files)
            if reason is not None:
                kept = f"{reason}; job {job_id} stays {job.status}"
                return ControlResult(False, kept, job.status)
            chosen = checkpoint_path(checkpoint)
        if self.store.resume(job_id, chosen) is None:
            return self._refused(job_id, _CANNOT_BE_RESUMED)
        with _only_a_hint(job_id):
            self.dispatcher.send(job_id)
        if waits := self._waits(chosen_job):
            return self._queued(job, f"job {job_id} is queued: it {waits}")
        return self._resumed(job, chosen)

    def _resume_all(self, group: str, jobs: Sequence[Job], checkpoint: str | None) -> ControlResult:
        if checkpoint:
            mend = "name the job whose checkpoint it is"
            return ControlResult(False, f"{a_sweep(group)}; {mend}", _state(jobs))
        return _of_all(group, jobs, "are queued again", self.resume)

    def _resumed(self, job: Job, chosen: str | None) -> ControlResult:
        """Where it goes on from, as far as that is known."""
        origin = chosen or job.checkpoint
        where = f"job {job.job_id} is queued, to go on from "
        if not origin:
            where += "the beginning: it had not made a step"
        elif lost := reason_against(job, origin, self.files, hash_up_to=0):
            where += f"its parked process or the last good checkpoint, if any: {lost}"
            return ControlResult(True, where, job.status)
        else:
            where += origin
        return ControlResult(True, where, job.status, origin or None)

    def force_start(self, job_id: str, *, from_start: bool = False) -> ControlResult:
        """Move a waiting job to the head; queue a failed or cancelled one again.

        With ``from_start`` any that does not run is queued from the beginning, on whatever host.
        """
        if jobs := self.store.group(job_id):
            did = "run next, or are queued again"
            start = partial(self.force_start, from_start=from_start)
            return _of_all(job_id, jobs, did, start)
        job = self.store.get(job_id)
        if from_start:
            return self._afresh(job_id, job)
        if job is not None and job.status is JobStatus.QUEUED:
            if job.held:
                return self._let_go(job)
            if self.store.to_head(job_id):
                return self._next(job)
        again = self.store.restart(job_id)
        if job is None or again is None:
            return self._refused(job_id, _CANNOT_BE_STARTED)
        with _only_a_hint(job_id):
            self.dispatcher.send(job_id)
        then = self._waits(again) or "goes on from its last good checkpoint, if any"
        return self._queued(job, f"job {job_id} is queued again: it {then}")

    def _waits(self, job: Job) -> str | None:
        """What it waits for besides its turn."""
        if job.held:
            return held_for(job)
        return waits_for(job) if self.dispatcher.is_away(job) else None

    def _next(self, job: Job) -> ControlResult:
        """Of a waiting job that was moved to the head."""
        if self.dispatcher.is_away(job):
            return self._queued(job, f"job {job.job_id} {waits_for(job)}")
        self.queue.to_head(job.attempt_id, self.dispatcher.slot_for(job))
        return self._queued(job, f"job {job.job_id} runs next")

    def _let_go(self, held: Job) -> ControlResult:
        """Its time, and other jobs, are waited for no more; only what it goes on from."""
        job_id = held.job_id
        job = self.store.let_go(job_id)
        if job is None:
            return self._refused(job_id, _CANNOT_BE_STARTED)
        if job.held:
            return self._queued(held, f"job {job_id} goes on from another: it {held_for(job)}")
        self.store.to_head(job_id)
        with _only_a_hint(job_id):
            self.dispatcher.send(job_id, at_head=True)
        return self._queued(held, f"job {job_id} runs next")

    def _afresh(self, job_id: str, before: Job | None) -> ControlResult:
        if before is None or self.store.start_afresh(job_id) is None:
            return self._refused(job_id, _CANNOT_BE_STARTED)
        waited = before.status is JobStatus.QUEUED and self.store.to_head(job_id)
        with _only_a_hint(job_id):
            self.queue.remove(before.attempt_id)
            self.dispatcher.send(job_id, at_head=waited)
        return self._queued(before, f"job {job_id} is queued, to start from the beginning")

    def _queued(self, before: Job, message: str) -> ControlResult:
        position = self.store.queue_position(before.job_id)
        return ControlResult(True, message, before.status, queue_position=position)

    def _refused(self, job_id: str, what: str) -> ControlResult:
        job = self.store.get(job_id)
        if job is None:
            known = bool(self.store.group(job_id))
            return ControlResult(False, a_sweep(job_id) if known else no_such_job(job_id), None)
        mend = _MENDS.get((what, job.status), "").format(job_id)
        return ControlResult(False, f"job {job_id} {what}: it is {job.status}{mend}", job.status)


_AGAIN = "; `trainyard force-start {}` queues it again"
_CANNOT_BE_RESUMED, _CANNOT_BE_STARTED = "cannot be resumed", "cannot be started"
_MENDS = {
    (_CANNOT_BE_RESUMED, JobStatus.FAILED): _AGAIN,
    (_CANNOT_BE_RESUMED, JobStatus.CANCELLED): _AGAIN,
    (_CANNOT_BE_STARTED, JobStatus.PAUSED): "; `trainyard resume {}` goes on with it",
}


def _of_all(
    group: str, jobs: Sequence[Job], did: str, act: Callable[[str], ControlResult]
) -> ControlResult:
    """The last first, so that none starts before its turn to be acted on. Again it does no harm."""
    done = sum(act(job.job_id).success for job in reversed(jobs))
    said = f"sweep {group}: {done} of {len(jobs)} jobs {did}"
    if not done:
        its = Counter(str(job.status) for job in jobs)
        told = ", ".join(f"{count} {status}" for status, count in its.items())
        said = f"sweep {group}: nothing to do, its jobs are {told}"
    return ControlResult(True, said, _state(jobs))


def _state(jobs: Sequence[Job]) -> JobStatus:
    return group_status({job.status for job in jobs})


@contextmanager
def _only_a_hint(job_id: str) -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        logger.warning(
            "job %s: the broker did not answer, the job store did: %s",
            job_id,
            error,
            extra={"action": "broker_away", "job_id": job_id},
        )
