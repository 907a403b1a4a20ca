"""Outbox: which jobs have events for the backend, claimed by one sender, with its cursors.

Keys, below ``trainyard:``

    undelivered          sorted set: job id → when it is due, ms of Redis's clock
    delivery:{id}        hash: how far its events are delivered (``store.delivery_state``)
    delivery-lock:{id}   holder of the job, with a time to live
    status-index:{id}    list: stream ids of its statuses
    again:{id}           stream: entries that a person wants to be sent again, before all others
    cut-notes:{id}       list: log lines that stand for others, "number lines"
    set-aside            list of JSON: what the backend will never take, newest first
    set-aside-counts     hash: kind → how many were ever set aside
    accepted             when the backend last took anything, ms of Redis's clock
    missing-routes       hash: route that the backend lacks → when that was last seen (UNIX s)

One sender holds a job at a time. Whatever it writes is refused once another has taken the job,
so a frozen sender that wakes up moves no position.

Exceptions:

    HoldLost (Interruption)    another sender has taken the job
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from redis import Redis

from trainyard.contract.backend_routes import WITHOUT
from trainyard.contract.error_tree import Interruption
from trainyard.store.delivery_state import OF_ONE_CURSOR, DeliveryProgress, read_progress
from trainyard.store.event_log import Entry, entry_position
from trainyard.store.job import Job
from trainyard.store.keys import JobKey, Key
from trainyard.store.scripts import script

SET_ASIDE_KEPT = 1000
"""Records of the set-aside list; older ones are dropped, the count goes on."""

_DATA_LIMIT = 2000
PAGE_ENTRIES = 100
PAGE_BYTES = 262_144
"""What is read at a time, so that a sender's memory does not grow with the backlog."""


class HoldLost(Interruption):
    """Another sender has taken this job; nothing was written."""


@dataclass
class Hold:
    """A job that this sender holds. ``progress`` is stored by the next call of :class:`Outbox`.

    ``now_ms``: Redis's clock at the last call; ``held_until``: time.monotonic() until which no
    other sender can take the job; ``last_status``: stream id of the newest status; ``again``: how
    many entries are to be sent again; ``user_id``: whose job it is, "" if nobody said; ``missing``:
    routes that the backend lacks, and when that was last seen (UNIX s); ``stored``: the fields as
    Redis has them; ``accepted``: the backend took something that is not stored yet.
    """

    job_id: str
    holder: str
    token: SecretStr | None
    progress: DeliveryProgress
    now_ms: int
    held_until: float
    last_status: str
    again: int
    user_id: str
    missing: dict[str, float]
    stored: dict[str, str]
    accepted: bool = False

    def lacks(self, route: str, for_s: float) -> bool:
        """Whether the backend was seen to lack a route that it may lack, so many seconds ago."""
        return route in WITHOUT and time.time() - self.missing.get(route, 0.0) < for_s

    def changes(self) -> dict[str, str]:
        """Fields of the hash that differ from what is stored; "" for one that goes."""
        fields = self.progress.to_hash() | dict.fromkeys(OF_ONE_CURSOR, "")
        return {k: value for k, value in fields.items() if self.stored.get(k, "") != value}


class Outbox:
    """Holds, reads and releases of jobs with undelivered events.

    ``redis`` must decode responses to str. ``lock_s``: seconds for which a :meth:`claim` or a
    :meth:`hold` keeps other senders away. Every method raises redis.RedisError if Redis does not
    answer.
    """

    def __init__(self, redis: Redis, *, lock_s: float) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self.lock_s = lock_s
        self._due, self._claim, self._read, self._hold, self._release = (
            script(redis, f"outbox_{name}") for name in ("due", "claim", "read", "hold", "release")
        )

    def due(self, limit: int) -> tuple[list[str], float | None]:
        """Up to ``limit`` jobs that are due, the longest due first; seconds until the next."""
        until_next_ms, job_ids = self._due(args=[limit])
        return job_ids, float(until_next_ms) / 1000 if until_next_ms else None

    def claim(self, job_id: str) -> Hold | None:
        """Take a job that is due; None if it is not, or another sender has it."""
        asked_at = time.monotonic()
        answer = self._claim(args=[job_id, secrets.token_hex(8), self._lock_ms])
        if answer is None:
            return None
        now_ms, holder, token, flat, last_status, again, user_id, missing = answer
        stored = _pairs(flat)
        return Hold(
            job_id=job_id,
            holder=holder,
            token=SecretStr(token) if token else None,
            progress=read_progress(stored),
            now_ms=now_ms,
            held_until=asked_at + self.lock_s,
            last_status=last_status,
            again=again,
            user_id=user_id,
            missing={route: float(at) for route, at in _pairs(missing).items()},
            stored=stored,
        )

    def read(self, job_id: str, after: str, *, again: bool = False) -> list[Entry]:
        """The next page of entries beyond the id ``after``, oldest first; [] at the end."""
        stream = JobKey.AGAIN if again else JobKey.EVENTS
        rows = self._read(args=[stream, job_id, after, PAGE_ENTRIES, PAGE_BYTES])
        return [Entry(entry_id, _pairs(flat), again) for entry_id, flat in rows]

    def between(self, job_id: str, first: str, last: str) -> list[Entry]:
        """The entries from one id to another, which came from one page."""
        rows = self.redis.xrange(JobKey.EVENTS.of(job_id), first, last)
        return [Entry(entry_id, fields) for entry_id, fields in rows]

    def job(self, job_id: str) -> Job | None:
        """The job as it is now; None if a request was refused."""
        raw = self.redis.hgetall(JobKey.JOB.of(job_id))
        return Job.from_hash(raw) if raw else None

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

    def hold(self, hold: Hold, record: str = "", kind: str = "", sent_again: str = "") -> None:
        """Store the progress and extend the lock; drop an entry that was ``sent_again``.

        ``record``: of an entry of a ``kind`` that is set aside. Raises HoldLost.
        """
        asked_at, changes = time.monotonic(), hold.changes()
        now_ms, last_status = self._hold(
            args=[
                *(hold.job_id, hold.holder, self._lock_ms, record, kind, SET_ASIDE_KEPT),
                *(sent_again, json.dumps(changes), int(hold.accepted)),
            ]
        )
        if not now_ms:
            raise HoldLost(hold.job_id)
        hold.stored |= changes
        hold.accepted = False
        hold.now_ms, hold.last_status = now_ms, last_status
        hold.held_until = asked_at + self.lock_s

    def release(self, hold: Hold, *, due_in_ms: int | None, seen: str) -> bool:
        """Give the job back, due in so many ms; None: nothing waits. Raises HoldLost.

        True if it is due at once, then also because an entry lies beyond the id ``seen`` ("": no
        matter), or because a person asked.
        """
        due = "" if due_in_ms is None else max(0, due_in_ms)
        done = self._release(args=[hold.job_id, hold.holder, due, seen, json.dumps(hold.changes())])
        if done < 0:
            raise HoldLost(hold.job_id)
        return bool(done)

    def note_missing_route(self, route: str, *, missing: bool) -> None:
        """Remember for people that the backend lacks a route, or has it now."""
        if missing:
            self.redis.hset(Key.MISSING_ROUTES, route, str(int(time.time())))
        else:
            self.redis.hdel(Key.MISSING_ROUTES, route)

    @property
    def _lock_ms(self) -> int:
        return int(self.lock_s * 1000)


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def set_aside_record(job_id: str, entry: Entry, reason: str, http_status: int | None) -> str:
    """What people read of an entry that the backend will never take (``delivery_report``).

    It holds up to 2,000 characters of the entry's data, and its stream id.
    """
    record = {
        "job_id": job_id,
        "entry_id": entry.entry_id,
        "kind": entry.kind,
        "attempt": entry.fields.get("attempt"),
        "sequence": entry.fields.get("sequence"),
        "data": entry.fields.get("data", "")[:_DATA_LIMIT],
        "reason": reason,
        "http_status": http_status,
        "at": int(time.time()),
    }
    return json.dumps(record)
