"""The supervisor of one attempt: runs in the pool child, while the training has its own process.

It starts the training through the slot process, reads its output and events, renews the lease,
passes on what people ask for, escalates from asking to killing, and returns only when no process
of the attempt is left, or its training is parked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from typing import Any, Literal

from pydantic import ValidationError

from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.events import (
    Held,
    Outcome,
    Prediction,
    Progress,
    TrainingSpec,
)
from trainyard.contract.names import attempt_id
from trainyard.contract.statuses import JobStatus
from trainyard.redaction import redactor_of
from trainyard.settings import Settings
from trainyard.store.job import Job
from trainyard.store.job_store import JobStore, Lease
from trainyard.store.unsent_records import find_unsent, sizes_of_records
from worker.machine.gpu import slot_gpu_use, wait_released
from worker.machine.memory import oom_kills
from worker.machine.signal_fds import sigterm_as_fd
from worker.slot import Slot, until_redis_answers
from worker.slot_process.client import KeeperLost, KeeperMessage, wait_gone
from worker.slot_process.protocol import Gone, Parked, Started, StartRefused, StillAlive
from worker.supervisor import job_folder
from worker.supervisor.attempt_end import AttemptFailed, AttemptLost, how_it_died
from worker.supervisor.event_buffer import Reporter
from worker.supervisor.hang_watch import HangWatch
from worker.supervisor.job_folder import Record
from worker.supervisor.lease import LeaseGuard
from worker.supervisor.log_handler import BatchingLogHandler
from worker.supervisor.training_link import TrainingLink

POLL_S = 0.25
"""How often the store is asked whether the job is still ours and what people want of it."""
STACKS_S = 2.0
"""Time for a hung training to write its stacks before it is killed."""

log = logging.getLogger(__name__)


class Supervisor:
    """Supervises one claimed attempt; :meth:`run` returns how it ended.

    ``job`` is the job as it was before the claim.
    """

    def __init__(
        self, store: JobStore, settings: Settings, slot: Slot, worker: str, job: Job
    ) -> None:
        self.store = store
        self.settings = settings
        self.slot = slot
        self.worker = worker
        self.job = job
        self.job_id, self.attempt = job.job_id, job.attempt
        self.job_dir = settings.job_dir(job.job_id)
        self.outcome: Outcome | None = None
        self.end: KeeperMessage | None = None
        self.hung = False
        self._has_begun = False
        self.asked: Literal["", "cancel", "pause"] = ""
        self.stopping = False
        self.terminated = False
        self._kill_at: float | None = None
        self._training_pid: int | None = None
        self._hang = HangWatch(settings.hang_seconds)
        self._next_poll = 0.0
        self._may_write_until = time.monotonic() + store.lease_ms / 1000
        self._oom_kills = oom_kills()
        self._gpu_before = slot_gpu_use()
        self.unfit: str | None = None

    def run(self) -> dict[str, Any]:
        """Run the attempt to its end.

        Returns ``{"outcome": "completed" | "cancelled" | "paused" | "put_back" | "refused" |
        "fenced"}`` with ``result`` (completed), ``fields`` (paused) or ``report`` (refused: the
        checkpoint that a person chose). Raises AttemptFailed or AttemptLost.
        """
        request = until_redis_answers(lambda: self.store.request(self.job_id))
        token = until_redis_answers(lambda: self.store.token(self.job_id))
        self.redactor = redactor_of(self.settings, os.environ, token)
        job_folder.prepare(self.job_dir, request)
        with job_folder.open_records(self.job_dir) as (log_file, metrics_file):
            self.reporter = Reporter(self.store, self.job, metrics_file)
            self.handler = BatchingLogHandler(
                self.reporter.log_lines,
                log_file,
                self.redactor,
                flush_s=self.settings.log_flush_seconds,
            )
            self.handler.setFormatter(logging.Formatter("%(levelname)s [trainyard] %(message)s"))
            self._take_over_records(log_file)
            self._say_how_it_starts()
            try:
                with sigterm_as_fd() as sigterm_fd:
                    self._supervise(sigterm_fd)
                self._leave_the_gpu()
            finally:
                self.handler.flush()
                self.reporter.flush_until(self._may_write_until)
        return self._conclude()

    def _leave_the_gpu(self) -> None:
        """Before anybody hears how the job ended, its GPU is free; ``unfit`` says where not."""
        if not isinstance(self.end, Parked):
            self.unfit = wait_released(self._gpu_before)
        if self.unfit:
            self.say(f"{self.unfit}: this slot is taken out of service", logging.ERROR)

    def say(self, text: str, level: int = logging.INFO) -> None:
        """Words of our own in the job's log; every line of them has the level."""
        for line in text.splitlines():
            self.handler.handle(logging.LogRecord("job", level, "", 0, line, None, None))

    def _take_over_records(self, log_file: Record) -> None:
        """Send what an earlier attempt left in the job's folder, before anything of this one."""
        if self.job.home not in ("", self.slot.home):
            self.reporter.set_fields(**sizes_of_records(self.job_dir))
            return
        unsent = find_unsent(self.job_dir, self.job, self.store.log_lines_kept)
        self.reporter.take_over(unsent)
        log_file.append("".join(f"{line}\n" for line in unsent.owed))
        self.reporter.set_fields(owed_lines="[]")

    def _say_how_it_starts(self) -> None:
        self.say(f"Attempt {self.attempt} of job {self.job_id} starts on slot {self.slot.name}")
        if self.job.home and self.job.home != self.slot.home:
            self.say(
                "Its checkpoints lie on a host that cannot be reached from here: "
                "it starts again from the beginning",
                logging.WARNING,
            )
        self.reporter.set_fields(parked="", parked_on="", parked_worker="")

    # ------------------------------------------------------------ the loop

    def _supervise(self, sigterm_fd: int) -> None:
        link = TrainingLink(
            self.slot.socket_name,
            self._spec(),
            preload=self.settings.preload,
            parked=self.job.parked_at(self.slot.name),
        )
        with link:
            self.link, self.keeper, self._sigterm_fd = link, link.keeper, sigterm_fd
            self.lease = LeaseGuard(self.store, self.job_id, self.attempt, link, self.say)
            link.watch(sigterm_fd)
            link.watch(self.slot.stop_read)
            while self.end is None:
                for item in link.poll(max(0.0, self._next_poll - time.monotonic())):
                    self._take(item)
                self._tick()
            for item in link.rest():
                self._take(item)
            self._may_write_until = self.lease.ends

    def _spec(self) -> TrainingSpec:
        settings = self.settings
        return TrainingSpec(
            job_id=self.job_id,
            attempt=self.attempt,
            slot=self.slot.name,
            job_dir=str(self.job_dir),
            resume_from=self.job.resume_from or None,
            from_start=bool(self.job.from_start),
            cache_dir=str(settings.trainyard_home / "cache"),
            dataset_roots=[str(path) for path in settings.dataset_roots],
            model_roots=[str(path) for path in settings.model_roots],
            allow_remote_code=settings.allow_remote_code,
            max_download_gb=settings.max_download_gb,
            allow_private_urls=settings.allow_private_urls,
        )

    def _tick(self) -> None:
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self.say("It did not stop in time: its processes are killed", logging.WARNING)
            self.keeper.kill()
        self.handler.flush_if_due()
        if now >= self._next_poll:
            self._next_poll = now + POLL_S
            if (lease := self.lease.renew()) is not None:
                self._heed(lease)
                self.reporter.flush()
            self._look_for_a_hang(now)

    # ------------------------------------------------------------ what arrives

    def _take(self, item: Any) -> None:
        match item:
            case list():
                self.handler.lines(item)
                if item:
                    self._hang.output(time.monotonic())
            case int() if item == self._sigterm_fd:
                self._terminate()
            case int():
                self._stop()
            case Started() | StillAlive() | Gone() | KeeperLost() | Parked() | StartRefused():
                self._take_message(item)
            case ValidationError():
                self.say(f"The training sent an event that is none: {item}", logging.ERROR)
            case _:
                self._take_event(item)
                self._hang.sign(time.monotonic())

    def _take_event(self, event: Any) -> None:
        match event:
            case Progress():
                self._has_begun = True
                self._hang.progress(event.step, time.monotonic())
                self.reporter.take(event)
                # The choice of a checkpoint has been made, and holds for later attempts.
                self.reporter.set_fields(resume_from="", from_start="")
            case Prediction():
                self.reporter.take(self.redactor.prediction(event))
            case Held():
                self.lease.is_held(event)
            case Outcome():
                if event.error is not None:
                    event.error = self.redactor.report(event.error)
                self._ended(event)
            case _:
                self.reporter.take(event)

    def _take_message(self, message: KeeperMessage) -> None:
        match message:
            case Started():
                self._training_pid = message.pid
                how = "preloaded" if message.preloaded else "fresh interpreter"
                how = "parked before, goes on" if message.warm else how
                self.say(f"Training process {message.pid} started ({how})")
            case StillAlive():
                pids = ", ".join(map(str, message.pids))
                self.say(f"Killed, but not yet dead: {pids}", logging.ERROR)
            case _:
                self.end = message

    def _terminate(self) -> None:
        """SIGTERM: a revoke with terminate=True, or the end of the worker; either way, at once."""
        self.terminated = True
        self.say("Told to end at once (SIGTERM): its processes are killed", logging.WARNING)
        self.keeper.kill()

    def _stop(self) -> None:
        """The worker stops: the job is put back, with a checkpoint where there is time."""
        self.stopping = True
        if self.asked != "cancel":
            grace_s = self.settings.stop_timeout_seconds / 2
            self._ask(self.asked, "pause", grace_s, "The worker stops")

    def _ended(self, outcome: Outcome) -> None:
        """The training has said how it ended; one that waits, paused, is parked or ended."""
        self.outcome = outcome
        self._kill_at = None
        if outcome.outcome != "paused" or not outcome.result.get("parked"):
            return
        may_park = self.settings.park_seconds and not (self.stopping or self.terminated)
        if self.asked == "pause" and may_park:
            self.keeper.park(self.settings.park_seconds)
        else:
            self.keeper.kill()

    # ------------------------------------------------------------ the lease, and what people want

    def _heed(self, lease: Lease) -> None:
        if lease.cancel and self.asked != "cancel":
            self._ask("cancel", "cancel", self.settings.cancel_grace_seconds, "Asked to cancel")
        if lease.cancel == "forced" and not self.terminated:
            self.terminated = True
            self.say("Cancelled by force: its processes are killed")
            self.keeper.kill()
        if lease.status == JobStatus.PAUSING and not self.asked:
            self._ask("pause", "pause", None, "Asked to pause")

    def _ask(
        self,
        asked: Literal["", "cancel", "pause"],
        command: Literal["cancel", "pause"],
        grace_s: float | None,
        why: str,
    ) -> None:
        self.asked = asked
        limit = "" if grace_s is None else f" (within {grace_s:g} s)"
        self.say(f"{why}: the training is asked to stop at its next step{limit}")
        self._kill_at = None if grace_s is None else time.monotonic() + grace_s
        self.link.command(command)

    def _look_for_a_hang(self, now: float) -> None:
        if self.lease.held or self.outcome is not None:
            self._hang.sign(now)
        if self.hung or self._training_pid is None:
            return
        self._hang.look(self._training_pid, now)
        if not self._hang.is_hung(now):
            return
        self.hung = True
        lacks = "sign of life before its first step" if self._hang.is_starting else "step"
        self.say(
            f"No {lacks} for {self._hang.silent_s(now):.0f} s: it hangs. Where its threads stand:",
            logging.ERROR,
        )
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._training_pid, signal.SIGUSR1)
        self._kill_at = now + STACKS_S

    # ------------------------------------------------------------ how it ended

    def _conclude(self) -> dict[str, Any]:
        lost_lease = isinstance(self.end, Gone) and self.end.lease_expired
        if self.lease.lost or self.reporter.fenced or lost_lease:
            return {"outcome": "fenced"}
        kind = self.outcome.outcome if self.outcome is not None else None
        if self.outcome is not None and kind == "completed":
            return {"outcome": "completed", "result": self.outcome.result}
        if isinstance(self.end, Parked) or (kind == "paused" and self.asked == "pause"):
            return {"outcome": "paused", "fields": self._pause_fields()}
        if self._is_cancelled():
            self._prove_gone()
            return {"outcome": "cancelled"}
        if self.stopping or self.terminated:
            return {"outcome": "put_back"}
        if self.hung:
            when = "before its first step" if self._hang.is_starting else "it made no step any more"
            raise AttemptLost(f"The training hung: {when}.", ErrorKind.HANG)
        if self.outcome is not None and kind == "failed":
            if (refusal := self._refused_checkpoint(self.outcome.error)) is not None:
                return {"outcome": "refused", "report": refusal.model_dump_json()}
            raise AttemptFailed.from_report(self.outcome.error)
        raise how_it_died(self.end, oom_killed=oom_kills() > self._oom_kills)

    def _refused_checkpoint(self, error: ErrorReport | None) -> ErrorReport | None:
        """Why the checkpoint that a person chose cannot be gone on from; None: not the reason."""
        chosen_in_vain = self.job.resume_from and not self._has_begun
        is_choice = error is not None and error.kind is ErrorKind.CONFIGURATION
        return error if chosen_in_vain and is_choice else None

    def _pause_fields(self) -> dict[str, str]:
        assert self.outcome is not None, "paused before"
        parked = isinstance(self.end, Parked)
        return {
            "checkpoint": str(self.outcome.result.get("checkpoint") or ""),
            "parked": attempt_id(self.job_id, self.attempt) if parked else "",
            "parked_on": self.slot.name if parked else "",
            "parked_worker": self.worker if parked else "",
        }

    def _is_cancelled(self) -> bool:
        """Whether a person wants it cancelled; after a SIGTERM, wait for who sent it to say."""
        deadline = time.monotonic() + (2.0 if self.terminated and not self.stopping else 0.0)
        while True:
            job = until_redis_answers(lambda: self.store.get(self.job_id))
            if job is not None and job.attempt == self.attempt and job.cancel:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)

    def _prove_gone(self) -> None:
        """``cancelled`` may be written only when no process of the attempt is left."""
        if not isinstance(self.end, Gone):
            wait_gone(self.slot.socket_name, attempt_id(self.job_id, self.attempt), 10.0)
