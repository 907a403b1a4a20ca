"""Event buffer of an attempt: all it has to tell, on its way into the job store.

Everything waits in memory until Redis has taken it, so that an outage of Redis neither stops a
training nor loses an event. Each append also says how much of the job folder's records it covers
(``log_bytes``, ``metric_bytes``), so that what only the folder has can be sent after a crash.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from redis.exceptions import RedisError

from trainyard.contract.events import EVENT_KINDS, Checkpoint, Event, Metric, Phase, StartEval
from trainyard.store.attempt_writes import StoredEvent
from trainyard.store.job import Job
from trainyard.store.job_store import JobStore
from trainyard.store.unsent_records import Unsent, cut_note, find_unsent, sizes_of_records
from worker.supervisor.job_folder import Record

EVENTS_PER_APPEND = 50
APPEND_CHARACTERS_MAX = 1_000_000
"""An append ends with the event that reaches this: Redis does nothing else meanwhile."""
PENDING_CHARACTERS_MAX = 16_000_000
"""Log events that wait for Redis hold no more than this."""

_TRAINED = Metric.model_fields.keys() - {
    *("event", "step", "epoch"),
    *("eval_loss", "perplexity", "eval_perplexity"),
}
"""What the point of a step has that was trained, and not evaluated."""

_Batch = tuple[int, list[StoredEvent], dict[str, str]]
logger = logging.getLogger(__name__)


class EventBuffer:
    """Collects an attempt's events and appends them to its stream, in order.

    ``job`` is the job before this attempt: its known values are gone on from. The store's
    ``log_lines_kept`` bounds the log lines that wait: past it the oldest log events go, and a line
    says how many. ``fenced`` becomes True when the store refuses the attempt's writes.
    """

    def __init__(self, store: JobStore, job: Job, metrics: Record) -> None:
        self.store = store
        self.job_id = job.job_id
        self.attempt = job.attempt
        self.metrics = metrics
        self.fenced = False
        self._pending: deque[tuple[StoredEvent, Mapping[str, str]]] = deque()
        self._pending_lines = 0
        self._pending_characters = 0
        self._lines_cut = 0
        self._unsent: _Batch | None = None
        self._batches = 0
        self._away = False
        self._fields: dict[str, str] = {}
        self._point: dict[str, float] = dict(job.point)
        self._phases: dict[str, float] = {}
        self._trained = {name: job.point[name] for name in _TRAINED & job.point.keys()}

    def log_lines(self, lines: Sequence[str], log_end: int) -> None:
        """Sink of the log handler: one batch of ready lines, and where train.log ends with it."""
        event = StoredEvent("log", json.dumps(lines), len(lines))
        self.add(event, {"log_bytes": str(log_end)})

    def take(self, event: Event) -> None:
        """Store an event as its kind is: in the stream, in a field of the job, or in both."""
        if isinstance(event, Metric):
            self._metric(event)
            return
        if isinstance(event, StartEval):
            self._point["start_eval_loss"] = event.eval_loss
            self.set_fields(point=json.dumps(self._point))
            return
        kind, fields = EVENT_KINDS[event.event], dict[str, str]()
        if isinstance(event, Phase):
            self._phases[event.name] = round(event.seconds, 3)
            fields["phases"] = json.dumps(self._phases)
        if isinstance(event, Checkpoint):
            fields["checkpoint"] = event.path
        if kind.field:
            fields[kind.field] = event.model_dump_json(exclude={"event"})
        if kind.stored:
            self.add(StoredEvent(event.event, event.model_dump_json()), fields)
        else:
            self.set_fields(**fields)

    def _metric(self, metric: Metric) -> None:
        if metric.eval_loss is None:
            self._trained = metric.model_dump(include=_TRAINED, exclude_none=True)
        else:  # a backend that writes what a point lacks as null would blank its row
            metric = metric.model_copy(update=self._trained | metric.model_dump(exclude_none=True))
        text = metric.model_dump_json(exclude_none=True)
        self.metrics.append(text + "\n")
        self._point |= metric.to_backend()
        loss, best = metric.eval_loss, self._point.get("best_eval_loss")
        if loss is not None and (best is None or loss < best):
            values = {"eval_loss": loss, "epoch": metric.epoch, "step": metric.step}
            self._point |= {f"best_{name}": value for name, value in values.items()}
        point = {"point": json.dumps(self._point), "metric_bytes": str(self.metrics.end)}
        self.add(StoredEvent("metric", text), point)

    def set_fields(self, **fields: str) -> None:
        """Set fields of the job itself."""
        self._fields |= fields

    def take_over(self, unsent: Unsent) -> None:
        """Before all else: what an earlier attempt could not send any more."""
        self._lines_cut += unsent.lines_cut
        for event in unsent.events[:-1]:
            self.add(event, {})
        for event in unsent.events[-1:]:
            self.add(event, unsent.fields)

    def add(self, event: StoredEvent, fields: Mapping[str, str]) -> None:
        """Queue an event, and fields of the job that are set together with it."""
        self._pending.append((event, fields))
        if not event.lines:
            return
        self._pending_lines += event.lines
        self._pending_characters += len(event.data)
        while (
            # One line is for the note, one for the line that counts what the stream cuts before it.
            self._pending_lines >= self.store.log_lines_kept - 1
            or self._pending_characters > PENDING_CHARACTERS_MAX
        ):
            self._cut_oldest_log()

    def flush(self, until: float = math.inf) -> bool:
        """Append what waits; False if Redis is away (it is kept) or refused it.

        Past ``until`` (``time.monotonic()``) the rest waits for the next call: a flood of lines at
        a slow Redis must not keep the caller from its lease.
        """
        while (self._unsent or self._pending or self._fields) and not self.fenced:
            if self._unsent is None:
                self._unsent = self._next_batch()
            try:
                self.fenced = not self.store.append(self.job_id, self.attempt, *self._unsent)
            except RedisError as error:
                if not self._away:
                    logger.warning(
                        "job %s: events wait for Redis: %s",
                        self.job_id,
                        error,
                        extra={"action": "events_wait", "job_id": self.job_id},
                    )
                self._away = True
                return False
            self._unsent, self._away = None, False
            if time.monotonic() >= until:
                break
        return not self.fenced

    def flush_all(self, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Flush until Redis has all of it: an end that it takes first would be the last that it
        takes, and the rest lost."""
        while not self.flush():
            if self.fenced or give_up():
                return False
            time.sleep(0.2)
        return True

    def _next_batch(self) -> _Batch:
        events, characters = list[StoredEvent](), 0
        if self._lines_cut:
            events.append(cut_note(self._lines_cut))
            self._lines_cut = 0
        fields, self._fields = self._fields, {}
        while (
            self._pending and len(events) < EVENTS_PER_APPEND and characters < APPEND_CHARACTERS_MAX
        ):
            event, with_it = self._pending.popleft()
            if event.lines:
                self._pending_lines -= event.lines
                self._pending_characters -= len(event.data)
            characters += len(event.data)
            events.append(event)
            fields |= with_it
        self._batches += 1
        return self._batches, events, fields

    def _cut_oldest_log(self) -> None:
        oldest = next(entry for entry in self._pending if entry[0].lines)
        self._pending.remove(oldest)
        self._pending_lines -= oldest[0].lines
        self._pending_characters -= len(oldest[0].data)
        self._lines_cut += oldest[0].lines


def take_over_records(
    events: EventBuffer, log_file: Record, job: Job, home: str, store: JobStore
) -> None:
    """Send it before anything of this attempt; ``home``: the id of this host's TRAINYARD_HOME."""
    folder = log_file.path.parent
    if job.home not in ("", home):
        events.set_fields(**sizes_of_records(folder))
        return
    unsent = find_unsent(folder, job, store.log_lines_kept)
    events.take_over(unsent)
    log_file.append("".join(f"{line}\n" for line in unsent.owed))
    events.set_fields(owed_lines="[]")
