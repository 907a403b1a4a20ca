"""Unsent records: what a killed attempt wrote into its job's folder, but not into its stream.

A supervisor writes each line and each metric into ``train.log`` and ``metrics.jsonl`` first, and
the job store knows up to which byte of each its stream goes. Whoever starts the next attempt, or
ends the job, sends what lies beyond.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from trainyard.contract.events import Metric
from trainyard.contract.job_folder import LOG, LOG_BEFORE, METRICS, PUT_BACK
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.contract.statuses import OCCUPYING
from trainyard.log_lines import stamp
from trainyard.store.attempt_writes import StoredEvent
from trainyard.store.job import Job
from trainyard.store.job_store import JobStore

CHARACTERS_MAX = 8_000_000
"""Of more unsent text than this the newest is sent."""


@dataclass(frozen=True)
class Unsent:
    """``events`` to append before all else, with the ``fields`` of the job that say so.

    ``lines_cut`` older log lines are too many for the stream. ``owed``: lines that the stream has
    and train.log still lacks.
    """

    events: list[StoredEvent]
    fields: dict[str, str]
    lines_cut: int
    owed: list[str]


def find_unsent(folder: Path, job: Job, lines_kept: int) -> Unsent:
    """What the records in ``folder`` hold beyond the job's stream, at most ``lines_kept`` lines."""
    lines, characters, cut = deque[str](), 0, 0
    owed = list(job.owed_lines)
    logs = _logs_beyond(folder, job.log_bytes)
    for line in chain.from_iterable(logs):
        if line in owed:  # written by an attempt that could say so no more
            owed.remove(line)
            continue
        lines.append(line)
        characters += len(line)
        # One line is for the note, and one for the line that counts what the stream cuts before it.
        if len(lines) >= lines_kept - 1 or characters > CHARACTERS_MAX:
            characters -= len(lines.popleft())
            cut += 1
    points, metrics = _Tail(folder / METRICS, job.metric_bytes), []
    for line in points:
        try:
            Metric.model_validate_json(line)
        except ValidationError:  # the last one, half written
            continue
        metrics.append(StoredEvent("metric", line))
    fields = {"log_bytes": str(logs[-1].end), "metric_bytes": str(points.end)}
    return Unsent([*_log_events(list(lines)), *metrics], fields, cut, owed)


def sizes_of_records(folder: Path) -> dict[str, str]:
    """The fields that say that nothing in ``folder`` is to be sent: another host's job ran here."""
    sizes = {"log_bytes": folder / LOG, "metric_bytes": folder / METRICS}
    return {name: str(_size(path)) for name, path in sizes.items()}


def send_unsent(store: JobStore, job: Job, folder: Path) -> None:
    """Before a job is taken from an attempt that is gone: append what only ``folder`` has.

    One append, so that an attempt that was only frozen cannot write between two of ours.
    """
    if job.status not in OCCUPYING:
        return
    unsent = find_unsent(folder, job, store.log_lines_kept)
    if unsent.events:
        note = [cut_note(unsent.lines_cut)] if unsent.lines_cut else []
        events = [*note, *unsent.events]
        # An attempt that was killed before it could say so may have written what train.log lacked.
        fields = unsent.fields | {"owed_lines": json.dumps(unsent.owed)}
        store.append(job.job_id, job.attempt, job.batch + 1, events, fields)


def was_put_back(folder: Path, attempt: int) -> bool:
    """Whether an attempt left word there that it gave its job back: its end was no crash."""
    path = folder / PUT_BACK
    return path.exists() and path.read_text() == str(attempt)


def cut_note(lines: int) -> StoredEvent:
    """The line at the place of a cut."""
    were = "1 log line was" if lines == 1 else f"{lines} log lines were"
    text = f"... {were} cut here, which came too fast; train.log has them"
    return StoredEvent("log", json.dumps([stamp(text)]), 1, lines)


def _log_events(lines: list[str]) -> Iterator[StoredEvent]:
    for first in range(0, len(lines), LOG_LINES_PER_BATCH):
        batch = lines[first : first + LOG_LINES_PER_BATCH]
        yield StoredEvent("log", json.dumps(batch), len(batch))


class _Tail:
    """The lines of a file from byte ``end`` on, which moves with them; none without a file."""

    def __init__(self, path: Path, end: int) -> None:
        self._path = path
        self.end = end

    def __iter__(self) -> Iterator[str]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self.end)
            for line in file:
                self.end += len(line)
                yield line.decode(errors="replace").removesuffix("\n")


def _logs_beyond(folder: Path, end: int) -> list[_Tail]:
    """The job's log from ``end`` on; if it began anew since, first the one before."""
    if end > _size(folder / LOG) and (folder / LOG_BEFORE).exists():
        return [_Tail(folder / LOG_BEFORE, end), _Tail(folder / LOG, 0)]
    return [_Tail(folder / LOG, end)]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
