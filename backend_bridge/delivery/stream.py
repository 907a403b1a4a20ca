"""Stream of a job as a sender reads it: its events, and what a person wants to be sent again."""

from __future__ import annotations

from typing import Any

from redis import Redis

from trainyard.store.event_log import Entry, entry_position
from trainyard.store.job import Job
from trainyard.store.keys import JobKey
from trainyard.store.scripts import script

PAGE_ENTRIES = 100
PAGE_BYTES = 262_144
"""What is read at a time, so that a sender's memory does not grow with the backlog."""


class Stream:
    """Reader of all jobs' streams. ``redis`` must decode responses to str; every method raises
    redis.RedisError if it does not answer."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self._read = script(redis, "outbox_read")

    def read(self, job_id: str, after: str, *, again: bool = False) -> list[Entry]:
        """The next page of entries beyond the id ``after``, oldest first; [] at the end."""
        stream = JobKey.AGAIN if again else JobKey.EVENTS
        rows = self._read(args=[stream, job_id, after, PAGE_ENTRIES, PAGE_BYTES])
        pairs = ((entry_id, zip(flat[::2], flat[1::2], strict=True)) for entry_id, flat in rows)
        return [Entry(entry_id, dict(fields), again) for entry_id, fields in pairs]

    def status_beyond(self, job_id: str, entry_id: str) -> Entry:
        """The first status after an entry; one must have been written, and statuses stay."""
        ids = self.redis.lrange(JobKey.STATUS_INDEX.of(job_id), 0, -1)
        found = next(one for one in ids if entry_position(one) > entry_position(entry_id))
        ((_, fields),) = self.redis.xrange(JobKey.EVENTS.of(job_id), found, found)
        return Entry(found, fields)

    def lines_noted(self, job_id: str, first: int, end: int) -> int:
        """How many more lines than their own the log lines from ``first`` to before ``end`` stand
        for: notes about lines that were cut before they came into the stream."""
        notes = self.redis.lrange(JobKey.CUT_NOTES.of(job_id), 0, -1)
        pairs = (map(int, note.split()) for note in notes)
        return sum(lines - 1 for number, lines in pairs if first <= number < end)

    def job(self, job_id: str) -> Job | None:
        """The job as it is now; None if a request was refused."""
        raw = self.redis.hgetall(JobKey.JOB.of(job_id))
        return Job.from_hash(raw) if raw else None
