"""Supervisor of one attempt: runs in the pool child, while the training has its own process.

It reads the training's output and events, passes on what people ask for (``lease`` hears it),
escalates from asking to killing, and returns only when no process of the attempt is left, or its
training is parked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from typing import Literal

from trainyard.contract.events import (
    AnyEvent,
    Held,
    Outcome,
    Prediction,
    Progress,
    Reading,
    Warnings,
)
from trainyard.contract.statuses import JobStatus
from trainyard.redaction import Redactor
from trainyard.settings import Settings
from trainyard.store.attempt_writes import Renewal
from worker.slot_process.client import KeeperLost, KeeperMessage
from worker.slot_process.protocol import Gone, Parked, Started, StartRefused, StillAlive
from worker.supervisor.attempt_end import Course
from worker.supervisor.event_buffer import EventBuffer
from worker.supervisor.hang_watch import HangWatch
from worker.supervisor.lease import LeaseGuard
from worker.supervisor.log_handler import BatchingLogHandler
from worker.supervisor.time_limits import TimeLimits
from worker.supervisor.training_link import (
    Arrival,
    BrokenEvent,
    OutputLines,
    ToldToEnd,
    TrainingLink,
    WorkerStops,
)

POLL_S = 0.25
"""How often what waits for the store is sent, and a hang and the clock are looked for."""
STACKS_S = 2.0
"""Time for a hung training to write its stacks before it is killed."""
ABSENT_S = 5.0
"""A supervisor that looks so late was frozen with all others (a paused VM), or waited for Redis."""


class Supervisor:
    """Supervises an attempt whose training has been asked for; ``course``: what became of it."""

    def __init__(
        self,
        settings: Settings,
        link: TrainingLink,
        lease: LeaseGuard,
        events: EventBuffer,
        log: BatchingLogHandler,
        redactor: Redactor,
        limits: TimeLimits,
    ) -> None:
        self.course = Course()
        self._lease = lease
        self._settings = settings
        self._link = link
        self._keeper = link.keeper
        self._events = events
        self._log = log
        self._redactor = redactor
        self._limits = limits
        self._hang = HangWatch(settings.hang_seconds)
        self._training_pid: int | None = None
        self._kill_at: float | None = None
        self._next_poll = 0.0
        self._looked_at = time.monotonic()

    def run(self) -> None:
        """Supervise until no process is left, or the training is parked."""
        while self.course.last_message is None:
            for arrival in self._link.poll(max(0.0, self._next_poll - time.monotonic())):
                self._take(arrival)
            self._tick()
        for arrival in self._link.rest():
            self._take(arrival)

    def _tick(self) -> None:
        now = time.monotonic()
        for text, level in self._lease.words():
            self._log.say(text, level)
        if (lease := self._lease.look()) is not None:
            self._heed(lease)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._log.say("It did not stop in time: its processes are killed", logging.WARNING)
            self._keeper.kill()
        self._log.flush_if_due()
        if now >= self._next_poll:
            self._next_poll = now + POLL_S
            if lease is not None:
                self._events.flush(until=now + POLL_S)
            self._look_for_a_hang(now)
            self._look_at_the_clock(now)

    # ------------------------------------------------------------ what arrives

    def _take(self, arrival: Arrival) -> None:
        match arrival:
            case OutputLines(lines=lines):
                self._log.lines(lines)
                if lines:
                    self._hang.output(time.monotonic())
            case BrokenEvent(problem=problem):
                self._log.say(f"The training sent an event that is none: {problem}", logging.ERROR)
            case ToldToEnd():
                self._terminate()
            case WorkerStops():
                self._put_back("its worker stopped", "The worker stops")
            case Started() | StillAlive() | Gone() | Parked() | StartRefused() | KeeperLost():
                self._take_message(arrival)
            case _:
                self._take_event(arrival)
                self._hang.sign(time.monotonic())

    def _take_event(self, event: AnyEvent) -> None:
        match event:
            case Progress():
                self.course.has_begun = True
                self._hang.progress(event.step, time.monotonic())
                self._events.take(event)
                # The choice of a checkpoint has been made, and holds for later attempts.
                self._events.set_fields(resume_from="", from_start="")
            case Prediction():
                self._events.take(self._redactor.prediction(event))
            case Warnings():
                self._events.take(self._redactor.warnings(event))
            case Reading():
                self.course.reading = event.source
            case Held():
                self._lease.is_held(event)
            case Outcome():
                if event.error is not None:
                    event.error = self._redactor.report(event.error)
                self._ended(event)
            case _:
                self._events.take(event)

    def _take_message(self, message: KeeperMessage) -> None:
        match message:
            case Started():
                self._training_pid = message.pid
                how = "preloaded" if message.preloaded else "fresh interpreter"
                how = "parked before, goes on" if message.warm else how
                self._log.say(f"Training process {message.pid} started ({how})")
            case StillAlive():
                pids = ", ".join(map(str, message.pids))
                self._log.say(f"Killed, but not yet dead: {pids}", logging.ERROR)
            case _:
                self.course.last_message = message

    def _terminate(self) -> None:
        """SIGTERM: a revoke with terminate=True, or the end of the worker; either way, at once."""
        self.course.terminated = True
        self._log.say("Told to end at once (SIGTERM): its processes are killed", logging.WARNING)
        self._keeper.kill()

    def _put_back(self, because: str, why: str) -> None:
        """Put the job back, with a checkpoint if there is time."""
        self.course.put_back = because
        if self.course.asked != "cancel":
            grace_s = self._settings.stop_timeout_seconds / 2
            self._ask(self.course.asked, "pause", grace_s, why)

    def _ended(self, outcome: Outcome) -> None:
        """The training has said how it ended; one that waits, paused, is parked or ended."""
        self.course.outcome = outcome
        self._kill_at = None
        if outcome.outcome != "paused" or not outcome.result.get("parked"):
            return
        ending = self.course.put_back or self.course.terminated
        if self.course.is_to_rest and self._settings.park_seconds and not ending:
            self._keeper.park(self._settings.park_seconds)
        else:
            self._keeper.kill()

    # ------------------------------------------------------------ the lease, and what people want

    def _heed(self, lease: Renewal) -> None:
        if lease.cancel and self.course.asked != "cancel":
            self._ask("cancel", "cancel", self._settings.cancel_grace_seconds, "Asked to cancel")
        if lease.cancel == "forced" and not self.course.terminated:
            self.course.terminated = True
            self._log.say("Cancelled by force: its processes are killed")
            self._keeper.kill()
        if lease.put_back and not self.course.put_back:
            self._put_back("its slot was drained", "Its slot is drained")
        if lease.status == JobStatus.PAUSING and not self.course.asked:
            self._ask("pause", "pause", None, "Asked to pause")
        busy = self.course.asked or self.course.put_back or self.course.make_way
        if lease.make_way and not busy:
            self.course.make_way = lease.make_way
            self._ask("", "pause", None, f"It makes way, {lease.make_way}")

    def _ask(
        self,
        asked: Literal["", "cancel", "pause"],
        command: Literal["cancel", "pause"],
        grace_s: float | None,
        why: str,
    ) -> None:
        self.course.asked = asked
        limit = "" if grace_s is None else f" (within {grace_s:g} s)"
        self._log.say(f"{why}: the training is asked to stop at its next step{limit}")
        self._kill_at = None if grace_s is None else time.monotonic() + grace_s
        self._link.command(command)

    def _look_at_the_clock(self, now: float) -> None:
        if self.course.timed_out or self.course.outcome is not None:
            return
        self.course.timed_out = self._limits.passed(now, has_begun=self.course.has_begun)
        if self.course.timed_out:
            self._log.say(f"{self.course.timed_out} Its processes are killed", logging.ERROR)
            self._keeper.kill()

    def _look_for_a_hang(self, now: float) -> None:
        if (absent_s := now - self._looked_at) > ABSENT_S:
            self._hang.absent(absent_s)
        self._looked_at = now
        if self._lease.held or self.course.outcome is not None:
            self._hang.sign(now)
        if self.course.hung or self._training_pid is None:
            return
        self._hang.look(self._training_pid, now)
        if not self._hang.is_hung(now):
            return
        starting = self._hang.is_starting
        self.course.hung = "before its first step" if starting else "it made no step any more"
        lacks = "sign of life before its first step" if starting else "step"
        self._log.say(
            f"No {lacks} for {self._hang.silent_s(now):.0f} s: it hangs. Where its threads stand:",
            logging.ERROR,
        )
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._training_pid, signal.SIGUSR1)
        self._kill_at = now + STACKS_S
