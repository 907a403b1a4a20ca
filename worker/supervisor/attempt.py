"""Attempt of a job, from its claim to its end: runs in the pool child.

What an attempt needs is made here, and its supervisor is given all of it.
"""

from __future__ import annotations

import logging
import os
import time

from pydantic import SecretStr

from trainyard.redaction import Redactor, redactor_of
from trainyard.settings import Settings
from trainyard.store.job import Job
from trainyard.store.job_store import JobStore
from worker.machine.signal_fds import sigterm_as_fd
from worker.slot import WorkerSlot, stops, until_redis_answers
from worker.supervisor import job_folder
from worker.supervisor.attempt_end import (
    AttemptEnd,
    AttemptMadeWay,
    AttemptPutBack,
    Conclusion,
)
from worker.supervisor.event_buffer import EventBuffer, take_over_records
from worker.supervisor.gpu_release import GpuRelease
from worker.supervisor.lease import LeaseGuard, metered_lease
from worker.supervisor.log_handler import BatchingLogHandler
from worker.supervisor.supervisor import Supervisor
from worker.supervisor.time_limits import TimeLimits
from worker.supervisor.training_link import ToldToEnd, WorkerStops, start_training


class Attempt:
    """One claimed attempt; ``job`` is the job as it was before the claim."""

    def __init__(
        self, store: JobStore, settings: Settings, slot: WorkerSlot, worker: str, job: Job
    ) -> None:
        self._store = store
        self._settings = settings
        self._slot = slot
        self._worker = worker
        self._job = job
        self._folder = settings.job_dir(job.job_id)
        self._gpu = GpuRelease()

    def run(self) -> AttemptEnd:
        """Run the attempt to its end. Raises AttemptFailed, AttemptLost, SlotUnavailable."""
        request = until_redis_answers(lambda: self._store.request(self._job.job_id))
        token = until_redis_answers(lambda: self._store.token(self._job.job_id))
        url = until_redis_answers(lambda: self._store.dataset_url(self._job.job_id))
        redactor = redactor_of(self._settings, os.environ, token, url, [self._job.job_id])
        limits = TimeLimits.of(self._settings, request, self._job.ran_s)
        job_folder.prepare(self._folder, request)
        with (
            metered_lease(self._store, self._job, self._slot.metered) as lease,
            job_folder.open_records(self._folder, lease.is_ours) as (log_file, metrics_file),
        ):
            events = EventBuffer(self._store, self._job, metrics_file)
            flush_s = self._settings.log_flush_seconds
            log = BatchingLogHandler(events.log_lines, log_file, redactor, flush_s=flush_s)
            log.setFormatter(logging.Formatter("%(levelname)s [trainyard] %(message)s"))
            take_over_records(events, log_file, self._job, self._slot.home, self._store)
            self._say_how_it_starts(events, log)
            try:
                supervisor = self._supervise(lease, events, log, redactor, url, limits)
                if not supervisor.course.is_parked:
                    self._gpu.wait(self._slot.doubt, log)
            finally:
                log.flush()
                events.flush_all(lambda: stops() and time.monotonic() >= lease.ends)
        course = Conclusion(self._store, self._slot, self._worker, self._job, supervisor.course)
        end = course.draw(fenced=lease.lost or events.fenced)
        if isinstance(end, AttemptPutBack | AttemptMadeWay):
            job_folder.note_put_back(self._folder, self._job.attempt)
        return end

    def _say_how_it_starts(self, events: EventBuffer, log: BatchingLogHandler) -> None:
        job, slot = self._job, self._slot
        log.say(f"Attempt {job.attempt} of job {job.job_id} starts on slot {slot.name}")
        if job.from_start and job.home != slot.home:
            log.say("It starts from the beginning, as was asked: its checkpoints lie elsewhere")
        events.set_fields(parked="", parked_on="", parked_worker="")

    def _supervise(
        self,
        lease: LeaseGuard,
        events: EventBuffer,
        log: BatchingLogHandler,
        redactor: Redactor,
        url: SecretStr | None,
        limits: TimeLimits,
    ) -> Supervisor:
        """The supervisor of the training, when no process of it is left or it is parked."""
        job, slot = self._job, self._slot
        with (
            sigterm_as_fd() as sigterm_fd,
            start_training(self._settings, slot, job, url) as link,
            lease.guarding(link),
        ):
            link.watch(sigterm_fd, ToldToEnd())
            link.watch(slot.stop_read, WorkerStops())
            supervisor = Supervisor(self._settings, link, lease, events, log, redactor, limits)
            supervisor.run()
        return supervisor
