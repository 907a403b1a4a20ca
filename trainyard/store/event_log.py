"""Event stream of a job, as readers have it: its log lines, metric points and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from trainyard.contract.events import Checkpoint, Metric
from trainyard.store.keys import JobKey

_PAGE = 500


@dataclass(frozen=True)
class LogPage:
    """``lines[i]`` is line ``offset + i`` of the ``total_lines`` that are kept.

    ``lines_cut``: how many older lines are kept no more.
    """

    lines: list[str]
    total_lines: int
    offset: int
    lines_cut: int = 0


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint that was written and verified, and when (seconds since the epoch)."""

    checkpoint: Checkpoint
    created_at: float


class EventLog:
    """The readers' side of a job's event stream; the job store writes it."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async

    def logs(self, job_id: str, *, limit: int = 100, offset: int = 0) -> LogPage:
        """``limit`` log lines from ``offset``; a negative offset counts from the end."""
        index = [
            (entry, int(first), int(count))
            for entry, first, count in (
                row.split(" ") for row in self.redis.lrange(JobKey.LOG_INDEX.of(job_id), 0, -1)
            )
        ]
        if not index:
            return LogPage([], 0, max(offset, 0))
        begin, total = index[0][1], sum(count for _, _, count in index)
        offset = max(total + offset, 0) if offset < 0 else offset
        first_wanted, end_wanted = begin + offset, begin + offset + limit
        wanted = [
            entry
            for entry, first, count in index
            if first + count > first_wanted and first < end_wanted
        ]
        if not wanted:
            return LogPage([], total, offset, begin)
        lines: list[str] = []
        for _, fields in self._range(job_id, wanted[0], wanted[-1]):
            if fields["kind"] == "log":  # its own number: entries may be cut while we read
                numbered = enumerate(json.loads(fields["data"]), start=int(fields["first_line"]))
                lines += [line for n, line in numbered if first_wanted <= n < end_wanted]
        return LogPage(lines, total, offset, begin)

    def metrics(
        self, job_id: str, limit: int | None = None, after: str = ""
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Metric points, oldest first, with the fields that the backend gets; and where to go on.

        ``limit``: so many. ``after``: those behind where an answer before ended.
        """
        found: list[dict[str, Any]] = []
        for entry, fields in self._range(job_id, f"({after}" if after else "-"):
            if fields["kind"] == "metric":
                found.append(Metric.model_validate_json(fields["data"]).to_backend())
                if len(found) == limit:
                    return found, entry
        return found, None

    def newest(
        self, job_id: str, kinds: Collection[str], limit: int, before: str = ""
    ) -> list[Entry]:
        """So many entries of ``kinds``, the newest first; ``before``: those older than that one."""
        found: list[Entry] = []
        last = f"({before}" if before else "+"
        while page := self.redis.xrevrange(JobKey.EVENTS.of(job_id), last, "-", count=_PAGE):
            found += [Entry(entry, fields) for entry, fields in page if fields["kind"] in kinds]
            if len(found) >= limit:
                break
            last = f"({page[-1][0]}"
        return found[:limit]

    def checkpoints(self, job_id: str) -> list[StoredCheckpoint]:
        """Every checkpoint ever written, oldest first; of the same path only the last one."""
        found: dict[str, StoredCheckpoint] = {}
        for entry, fields in self._range(job_id):
            if fields["kind"] == "checkpoint":
                checkpoint = Checkpoint.model_validate_json(fields["data"])
                found.pop(checkpoint.path, None)
                written_at = int(entry.partition("-")[0]) / 1000
                found[checkpoint.path] = StoredCheckpoint(checkpoint, written_at)
        return list(found.values())

    def _range(
        self, job_id: str, first: str = "-", last: str = "+"
    ) -> Iterator[tuple[str, dict[str, str]]]:
        """Entries page by page: a job of a million steps has a million of them."""
        while page := self.redis.xrange(JobKey.EVENTS.of(job_id), first, last, count=_PAGE):
            yield from page
            first = f"({page[-1][0]}"


@dataclass(frozen=True)
class Entry:
    """One entry of a job's event stream; ``fields`` are as the job store wrote them.

    ``again``: it stands in the stream of what a person wants to be sent again.
    """

    entry_id: str
    fields: Mapping[str, str]
    again: bool = False

    @property
    def kind(self) -> str:
        """``status``, ``metric``, ``log``, or one that is not for the backend."""
        return self.fields.get("kind", "")

    @property
    def position(self) -> tuple[int, int]:
        """The id as numbers that compare in stream order."""
        return entry_position(self.entry_id)


def entry_position(entry_id: str) -> tuple[int, int]:
    """Numbers of a stream id ``ms-n`` that compare in stream order."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)
