"""Redelivery: what was set aside, or all of a job, goes to the backend again, as a person asks.

A courier does it: here it is only asked for. Every message has the Idempotency-Key that it had.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.job_folder import LOG, LOG_BEFORE
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.store.event_log import entry_position
from trainyard.store.keys import JobKey, Key
from trainyard.store.scripts import script
from trainyard.store.unsent_records import CHARACTERS_MAX


class NotKept(TrainyardError):
    """The store has no token of the job, without which the backend takes nothing."""


@dataclass(frozen=True)
class Redelivered:
    """``messages``: how many that were set aside are sent again; ``gone``: how many are not, since
    the stream has them no more. ``older_lines``: log lines that the job's folder still had."""

    job_id: str
    messages: int = 0
    gone: int = 0
    older_lines: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Redelivery:
    """Asks for messages to be sent again. ``redis`` must decode responses to str."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self._redeliver = script(redis, "redeliver")

    def jobs(self, *, all_known: bool) -> list[str]:
        """The jobs with something that the backend has not got; or all."""
        if all_known:
            job_ids: list[str] = self.redis.zrange(Key.JOBS, 0, -1)
            return job_ids
        waiting = self.redis.zrange(Key.UNDELIVERED, 0, -1)
        set_aside = (json.loads(raw)["job_id"] for raw in self.redis.lrange(Key.SET_ASIDE, 0, -1))
        return list(dict.fromkeys([*waiting, *set_aside]))

    def ask(self, job_id: str, *, from_start: bool, folder: Path | None = None) -> Redelivered:
        """Send again what was set aside, and try at once what waits; or, ``from_start``, all that
        the stream holds, and the log lines before it that ``folder`` holds. Raises NotKept."""
        return self._from_start(job_id, folder) if from_start else self._set_aside(job_id)

    def _set_aside(self, job_id: str) -> Redelivered:
        records = self._records(job_id)
        entries, gone = [], 0
        for record in sorted(
            map(json.loads, records), key=lambda one: entry_position(one["entry_id"])
        ):
            entry_id = record["entry_id"]
            found = self.redis.xrange(JobKey.EVENTS.of(job_id), entry_id, entry_id)
            entries += [fields for _, fields in found]
            gone += not found
        self._ask(job_id, "try", records, entries)
        return Redelivered(job_id, messages=len(entries), gone=gone)

    def _from_start(self, job_id: str, folder: Path | None) -> Redelivered:
        head = self.redis.lindex(JobKey.LOG_INDEX.of(job_id), 0)
        first_line = int(head.split(" ")[1]) if head else 0
        lines: Sequence[str] = ()
        if folder is not None and first_line:
            ((_, fields),) = self.redis.xrange(
                JobKey.EVENTS.of(job_id), head.split(" ")[0], count=1
            )
            first = json.loads(fields["data"])[0]
            logs = (_lines_before(folder / name, first, first_line) for name in (LOG, LOG_BEFORE))
            lines = next(filter(None, logs), ())
        records = self._records(job_id)
        self._ask(job_id, str(first_line if lines else 0), records, list(_log_entries(lines)))
        return Redelivered(job_id, messages=len(records), older_lines=len(lines))

    def _records(self, job_id: str) -> list[str]:
        kept = self.redis.lrange(Key.SET_ASIDE, 0, -1)
        return [raw for raw in kept if json.loads(raw)["job_id"] == job_id]

    def _ask(
        self, job_id: str, what: str, records: list[str], entries: list[dict[str, str]]
    ) -> None:
        flat = [[part for pair in fields.items() for part in pair] for fields in entries]
        if not self._redeliver(args=[job_id, what, json.dumps(records), json.dumps(flat)]):
            raise NotKept(
                f"Nothing of job {job_id} can be sent: its token is not in the store",
                "it was pruned, or never admitted",
            )


def _lines_before(path: Path, line: str, number: int) -> Sequence[str]:
    """Lines of a file before ``line``, which should be its ``number``-th; the newest if many.

    It is searched for: the file may lack lines that the stream has, and the other way round.
    """
    if not path.exists():
        return ()
    with path.open(encoding="utf-8", errors="replace") as file:
        places = [place for place, text in enumerate(file) if text.removesuffix("\n") == line]
        if not places:
            return ()
        end = min(places, key=lambda place: abs(place - number))
        file.seek(0)
        kept, characters = deque[str](), 0
        for _ in range(end):
            kept.append(file.readline().removesuffix("\n"))
            characters += len(kept[-1])
            while characters > CHARACTERS_MAX:
                characters -= len(kept.popleft())
    return kept


def _log_entries(lines: Sequence[str]) -> Iterator[dict[str, str]]:
    every = list(lines)
    for first in range(0, len(every), LOG_LINES_PER_BATCH):
        batch = every[first : first + LOG_LINES_PER_BATCH]
        sequence = f"older-{first}"
        yield {"kind": "log", "attempt": "0", "sequence": sequence, "data": json.dumps(batch)}
