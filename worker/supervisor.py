"""The supervisor of one attempt: runs in the pool child, while the training has its own process.

It starts the training through the slot process, reads its output and events, renews the lease,
passes on what people ask for, escalates from asking to killing, and returns only when no process
of the attempt is left.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from pydantic import TypeAdapter, ValidationError
from redis.exceptions import RedisError

from backend_bridge.contract import (
    AnyEvent,
    Checkpoint,
    Command,
    Metric,
    Outcome,
    Phase,
    Progress,
    TrainingSpec,
    attempt_id,
)
from backend_bridge.job_store import JobStore
from backend_bridge.redis_connection import patiently
from backend_bridge.settings import Settings
from worker.attempt_end import AttemptFailed, AttemptLost, how_it_died
from worker.files import write_atomically
from worker.log_handler import BatchingLogHandler
from worker.output_lines import LineSplitter
from worker.reporter import Reporter
from worker.slot_client import (
    Gone,
    KeeperLost,
    Refused,
    Started,
    StillAlive,
    start_attempt,
    wait_gone,
)

POLL_S = 0.25
"""How often the store is asked whether the job is still ours and what people want of it."""
SLOT_START_TIMEOUT_S = 120.0
_READ_BYTES = 1 << 16
_EVENTS: TypeAdapter[Any] = TypeAdapter(AnyEvent)

log = logging.getLogger(__name__)


class Supervisor:
    """Supervises one claimed attempt; :meth:`run` returns how it ended.

    ``stop_fd`` becomes readable when the worker stops: the attempt is put back then.
    """

    def __init__(
        self,
        store: JobStore,
        settings: Settings,
        job_id: str,
        attempt: int,
        *,
        slot: str,
        socket_name: str,
        stop_fd: int | None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.job_id = job_id
        self.attempt = attempt
        self.slot = slot
        self.socket_name = socket_name
        self.stop_fd = stop_fd
        self.job_dir = settings.job_dir(job_id)
        self.outcome: Outcome | None = None
        self.end: Gone | KeeperLost | Refused | None = None
        self.fenced = False
        self.cancelling = False
        self.stopping = False
        self.terminated = False
        self._kill_at: float | None = None
        self._next_poll = 0.0
        self._lease_ends = time.monotonic() + store.lease_ms / 1000
        self._splitter = LineSplitter()
        self._event_bytes = b""

    def run(self) -> dict[str, Any]:
        """Run the attempt to its end.

        Returns ``{"outcome": "completed" | "cancelled" | "paused" | "put_back" | "fenced",
        "result": {...}}``. Raises AttemptFailed or AttemptLost.
        """
        self.job_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(
            self.job_dir / "request.json", json.dumps(self.store.request(self.job_id), indent=1)
        )
        with (
            _append_text(self.job_dir / "train.log") as log_file,
            _append_text(self.job_dir / "metrics.jsonl") as metrics_file,
        ):
            self.reporter = Reporter(self.store, self.job_id, self.attempt, metrics_file)
            self.handler = BatchingLogHandler(
                self.reporter.log_lines, log_file, flush_s=self.settings.log_flush_seconds
            )
            self.say(f"Attempt {self.attempt} of job {self.job_id} starts on slot {self.slot}")
            try:
                with self._sigterm_noted():
                    self._supervise()
            finally:
                self.handler.flush()
                self.reporter.flush_until(self._lease_ends)
        return self._conclude()

    def say(self, text: str, level: int = logging.INFO) -> None:
        """A line of our own in the job's log."""
        self._emit(f"[trainyard] {text}", level)

    def _emit(self, text: str, level: int = logging.INFO) -> None:
        self.handler.handle(logging.LogRecord("job", level, "", 0, text, None, None))

    # ------------------------------------------------------------ the loop

    def _supervise(self) -> None:
        output_read, output_write = os.pipe()
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, output_read)
            stack.enter_context(ours)
            try:
                keeper = stack.enter_context(
                    start_attempt(
                        self.socket_name,
                        attempt_id(self.job_id, self.attempt),
                        {"TRAINYARD_JOB_ID": self.job_id},
                        output_write,
                        theirs.fileno(),
                        timeout_s=SLOT_START_TIMEOUT_S,
                        preload=self.settings.preload,
                    )
                )
            finally:
                os.close(output_write)
                theirs.close()
            ours.sendall(self._spec().model_dump_json().encode() + b"\n")
            ours.setblocking(False)
            os.set_blocking(output_read, False)
            self.keeper, self.events, self.output = keeper, ours, output_read
            with selectors.DefaultSelector() as selector:
                self._loop(selector)
                self._drain(selector)
        for line in self._splitter.close():
            self._emit(line)

    def _spec(self) -> TrainingSpec:
        settings = self.settings
        return TrainingSpec(
            job_id=self.job_id,
            attempt=self.attempt,
            slot=self.slot,
            job_dir=str(self.job_dir),
            cache_dir=str(settings.trainyard_home / "cache"),
            dataset_roots=[str(path) for path in settings.dataset_roots],
            model_roots=[str(path) for path in settings.model_roots],
            allow_remote_code=settings.allow_remote_code,
        )

    def _loop(self, selector: selectors.BaseSelector) -> None:
        selector.register(self.output, selectors.EVENT_READ, self._read_output)
        selector.register(self.events, selectors.EVENT_READ, self._read_events)
        selector.register(self.keeper, selectors.EVENT_READ, self._read_keeper)
        selector.register(self._term_read, selectors.EVENT_READ, self._read_sigterm)
        if self.stop_fd is not None:
            selector.register(self.stop_fd, selectors.EVENT_READ, self._read_stop)
        while self.end is None:
            timeout = max(0.0, self._next_poll - time.monotonic())
            for key, _ in selector.select(timeout):
                key.data(selector)
            self._tick()

    def _drain(self, selector: selectors.BaseSelector) -> None:
        """Every process is gone: what still stands in the pipes is all there will be."""
        for source, read in ((self.output, self._read_output), (self.events, self._read_events)):
            while source in (key.fileobj for key in selector.get_map().values()):
                if not read(selector):
                    break

    def _tick(self) -> None:
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self.say("It did not stop in time: its processes are killed", logging.WARNING)
            self.keeper.kill()
        self.handler.flush_if_due()
        if now >= self._next_poll:
            self._next_poll = now + POLL_S
            self.reporter.flush()
            self._renew()

    # ------------------------------------------------------------ what arrives

    def _read_output(self, selector: selectors.BaseSelector) -> bool:
        try:
            data = os.read(self.output, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            selector.unregister(self.output)
            return False
        for line in self._splitter.feed(data):
            self._emit(line)
        return True

    def _read_events(self, selector: selectors.BaseSelector) -> bool:
        try:
            data = self.events.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        if not data:
            selector.unregister(self.events)
            return False
        *lines, self._event_bytes = (self._event_bytes + data).split(b"\n")
        for line in lines:
            self._take_event(line)
        return True

    def _take_event(self, line: bytes) -> None:
        try:
            event = _EVENTS.validate_json(line)
        except ValidationError as error:
            self.say(f"The training sent an event that is none: {error}", logging.ERROR)
            return
        match event:
            case Metric():
                self.reporter.metric(event)
            case Progress():
                self.reporter.progress(event)
            case Phase():
                self.reporter.phase(event)
            case Checkpoint():
                self.reporter.checkpoint(event)
            case Outcome():
                self.outcome = event

    def _read_keeper(self, selector: selectors.BaseSelector) -> None:
        for message in self.keeper.read_messages():
            match message:
                case Started():
                    how = "preloaded" if message.preloaded else "fresh interpreter"
                    self.say(f"Training process {message.pid} started ({how})")
                case StillAlive():
                    pids = ", ".join(map(str, message.pids))
                    self.say(f"Killed, but not yet dead: {pids}", logging.ERROR)
                case _:
                    self.end = message
                    selector.unregister(self.keeper)

    def _read_sigterm(self, _: selectors.BaseSelector) -> None:
        """A revoke with terminate=True, or the end of the worker: either way, at once."""
        os.read(self._term_read, 512)
        if not self.terminated:
            self.terminated = True
            self.say("Told to end at once (SIGTERM): its processes are killed", logging.WARNING)
            self.keeper.kill()

    def _read_stop(self, selector: selectors.BaseSelector) -> None:
        if self.stop_fd is not None:
            selector.unregister(self.stop_fd)
        self.stopping = True
        if not self.cancelling:
            self._ask("pause", self.settings.stop_timeout_seconds / 2, "The worker stops")

    # ------------------------------------------------------------ the lease, and what people want

    def _renew(self) -> None:
        try:
            lease = self.store.renew(self.job_id, self.attempt)
        except RedisError as error:
            log.warning("job %s: lease not renewed: %s", self.job_id, error)
            if time.monotonic() >= self._lease_ends and not self.fenced:
                self.fenced = True
                self.say("Redis was away for as long as the lease: the attempt ends here")
                self.keeper.kill()
            return
        if not lease.held:
            if not self.fenced:
                self.fenced = True
                self.keeper.kill()
            return
        self._lease_ends = time.monotonic() + self.store.lease_ms / 1000
        if lease.cancel and not self.cancelling:
            self.cancelling = True
            self._ask("cancel", self.settings.cancel_grace_seconds, "Asked to cancel")
        if lease.cancel == "forced" and not self.terminated:
            self.terminated = True
            self.say("Cancelled by force: its processes are killed")
            self.keeper.kill()

    def _ask(self, command: Any, grace_s: float, why: str) -> None:
        self.say(f"{why}: the training is asked to stop at its next step ({grace_s:g} s)")
        self._kill_at = time.monotonic() + grace_s
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is ending anyway
            self.events.sendall(Command(command=command).model_dump_json().encode() + b"\n")

    # ------------------------------------------------------------ how it ended

    def _conclude(self) -> dict[str, Any]:
        if self.fenced or self.reporter.fenced:
            return {"outcome": "fenced"}
        kind = self.outcome.outcome if self.outcome is not None else None
        if self.outcome is not None and kind == "completed":
            return {"outcome": "completed", "result": self.outcome.result}
        if self._is_cancelled():
            self._prove_gone()
            return {"outcome": "cancelled"}
        if self.stopping or self.terminated:
            return {"outcome": "put_back"}
        if self.outcome is not None and kind == "failed":
            raise AttemptFailed.from_report(self.outcome.error)
        raise AttemptLost(how_it_died(self.end))

    def _is_cancelled(self) -> bool:
        """Whether a person wants it cancelled; after a SIGTERM, wait for who sent it to say."""
        deadline = time.monotonic() + (2.0 if self.terminated and not self.stopping else 0.0)
        while True:
            job = patiently(lambda: self.store.get(self.job_id))
            if job is not None and job.attempt == self.attempt and job.cancel:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)

    def _prove_gone(self) -> None:
        """``cancelled`` may be written only when no process of the attempt is left."""
        if not isinstance(self.end, Gone):
            wait_gone(self.socket_name, attempt_id(self.job_id, self.attempt), 10.0)

    @contextlib.contextmanager
    def _sigterm_noted(self) -> Iterator[None]:
        """While the attempt runs SIGTERM kills the training, not the pool child.

        The slot's next job needs no new pool child then, for which Celery may take 5 s.
        """
        self._term_read, term_write = os.pipe()
        os.set_blocking(term_write, False)
        before = signal.signal(signal.SIGTERM, lambda *_: os.write(term_write, b"t"))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
            os.close(self._term_read)
            os.close(term_write)


def _append_text(path: Path) -> TextIO:
    return path.open("a", encoding="utf-8", errors="replace")
