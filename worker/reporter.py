"""What an attempt has to tell, on its way into the job store.

Everything waits in memory until Redis has taken it, so that an outage of Redis neither stops a
training nor loses an event.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import TextIO

from redis.exceptions import RedisError

from backend_bridge.contract import Checkpoint, Metric, Phase, Progress, Receipt
from backend_bridge.job_store import JobStore, StoredEvent
from backend_bridge.log_lines import stamp

EVENTS_PER_APPEND = 50
_Batch = tuple[int, list[StoredEvent], dict[str, str]]
log = logging.getLogger(__name__)


class Reporter:
    """Collects an attempt's events and appends them to its stream, in order.

    The store's ``log_lines_kept`` bounds what an outage of Redis may pile up: past it the oldest
    log events go, and a line says how many. ``fenced`` becomes True when the store refuses the
    attempt's writes.
    """

    def __init__(self, store: JobStore, job_id: str, attempt: int, metrics_file: TextIO) -> None:
        self.store = store
        self.job_id = job_id
        self.attempt = attempt
        self.metrics_file = metrics_file
        self.fenced = False
        self._pending: deque[StoredEvent] = deque()
        self._pending_lines = 0
        self._lines_cut = 0
        self._unsent: _Batch | None = None
        self._batches = 0
        self._fields: dict[str, str] = {}
        self._point: dict[str, float] = {}
        self._phases: dict[str, float] = {}

    def log_lines(self, lines: Sequence[str]) -> None:
        """Sink of the log handler: one batch of ready lines."""
        self._pending.append(StoredEvent("log", json.dumps(list(lines)), len(lines)))
        self._pending_lines += len(lines)
        while self._pending_lines >= self.store.log_lines_kept:  # one line is for the note
            self._cut_oldest_log()

    def metric(self, metric: Metric) -> None:
        text = metric.model_dump_json(exclude_none=True)
        self.metrics_file.write(text + "\n")
        self.metrics_file.flush()
        self._point |= metric.to_backend()
        if metric.eval_loss is not None:
            best = self._point.get("best_eval_loss", metric.eval_loss)
            self._point["best_eval_loss"] = min(best, metric.eval_loss)
        self._fields["point"] = json.dumps(self._point)
        self._pending.append(StoredEvent("metric", text))

    def progress(self, progress: Progress) -> None:
        self._fields["progress"] = progress.model_dump_json(exclude={"event"})

    def phase(self, phase: Phase) -> None:
        self._phases[phase.name] = round(phase.seconds, 3)
        self._fields["phases"] = json.dumps(self._phases)
        self._pending.append(StoredEvent("phase", phase.model_dump_json()))

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        self._pending.append(StoredEvent("checkpoint", checkpoint.model_dump_json()))

    def receipt(self, receipt: Receipt) -> None:
        self._pending.append(StoredEvent("receipt", receipt.model_dump_json()))

    def set_fields(self, **fields: str) -> None:
        """Set fields of the job itself."""
        self._fields |= fields

    def flush(self) -> bool:
        """Append what waits; False where Redis is away (it is kept) or refused it."""
        while (self._unsent or self._pending or self._fields) and not self.fenced:
            if self._unsent is None:
                self._unsent = self._next_batch()
            try:
                self.fenced = not self.store.append(self.job_id, self.attempt, *self._unsent)
            except RedisError as error:
                log.warning("job %s: events wait for Redis: %s", self.job_id, error)
                return False
            self._unsent = None
        return not self.fenced

    def flush_until(self, deadline: float) -> bool:
        """Flush, trying again until ``deadline`` (``time.monotonic()``)."""
        while not self.flush():
            if self.fenced or time.monotonic() >= deadline:
                return False
            time.sleep(0.2)
        return True

    def _next_batch(self) -> _Batch:
        events = []
        if self._lines_cut:
            events.append(_cut_note(self._lines_cut))
            self._lines_cut = 0
        for _ in range(min(EVENTS_PER_APPEND, len(self._pending))):
            event = self._pending.popleft()
            self._pending_lines -= event.lines
            events.append(event)
        fields, self._fields = self._fields, {}
        self._batches += 1
        return self._batches, events, fields

    def _cut_oldest_log(self) -> None:
        oldest = next(event for event in self._pending if event.kind == "log")
        self._pending.remove(oldest)
        self._pending_lines -= oldest.lines
        self._lines_cut += oldest.lines


def _cut_note(lines: int) -> StoredEvent:
    text = f"... {lines} log lines were cut while Redis was away; train.log has them all"
    return StoredEvent("log", json.dumps([stamp(text)]), 1)
