"""The sender's side of the job store: which jobs have events for the backend, and how far each is.

Keys, below ``trainyard:``

    undelivered          sorted set: job id → when it is due, ms of Redis's clock
    delivery:{id}        hash: how far its events are delivered (fields: :class:`Claim`)
    delivery-lock:{id}   holder of the job, with a time to live
    status-index:{id}    list: stream ids of its statuses
    cut-notes:{id}       list: log lines that stand for others, "number lines"
    set-aside            list of JSON: what the backend will never take, newest first
    set-aside-counts     hash: kind → how many were ever set aside
    missing-routes       hash: route that the backend lacks → when that was last seen (UNIX s)

One sender holds a job at a time. Whatever it writes is refused once another has taken the job,
so a frozen sender that wakes up moves no cursor.

Exceptions:

    HoldLost (Interruption)    another sender has taken the job
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr
from redis import Redis

from backend_bridge.delivery.cursor import Claim
from trainyard.contract.error_tree import Interruption
from trainyard.store.event_log import Entry, entry_position
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


class Outbox:
    """Claims, reads and releases of jobs with undelivered events.

    ``redis`` must decode responses to str. ``lock_s``: seconds for which a claim or a
    :meth:`hold` keeps other senders away. Every method raises redis.RedisError where Redis
    does not answer.
    """

    def __init__(self, redis: Redis, *, lock_s: float) -> None:
        self.redis = redis
        self.lock_s = lock_s
        self._due, self._claim, self._read, self._hold, self._release = (
            script(redis, f"outbox_{name}") for name in ("due", "claim", "read", "hold", "release")
        )

    def due(self, limit: int) -> tuple[list[str], float | None]:
        """Up to ``limit`` jobs that are due, the longest due first; seconds until the next."""
        until_next_ms, job_ids = self._due(args=[limit])
        return job_ids, float(until_next_ms) / 1000 if until_next_ms else None

    def claim(self, job_id: str, *, woken: bool = False) -> Claim | None:
        """Take a job that is due; None where it is not, or another sender has it.

        ``woken``: a new event is why. It lets a job be taken of which one kind alone waits.
        """
        asked = time.monotonic()
        answer = self._claim(
            args=[job_id, secrets.token_hex(8), self._lock_ms, "1" if woken else ""]
        )
        if answer is None:
            return None
        now_ms, holder, token, flat, last_status = answer
        return Claim(
            job_id=job_id,
            holder=holder,
            token=SecretStr(token) if token else None,
            state=dict(zip(flat[::2], flat[1::2], strict=True)),
            now_ms=now_ms,
            held_until=asked + self.lock_s,
            last_status=last_status,
        )

    def read(self, job_id: str, after: str) -> list[Entry]:
        """The next page of entries beyond the id ``after``, oldest first; [] at the end."""
        rows = self._read(args=[job_id, after, PAGE_ENTRIES, PAGE_BYTES])
        return [
            Entry(entry_id, dict(zip(flat[::2], flat[1::2], strict=True)))
            for entry_id, flat in rows
        ]

    def statuses_beyond(self, job_id: str, entry: Entry) -> list[Entry]:
        """The statuses that were written after ``entry``, oldest first."""
        redis: Any = self.redis  # redis-py types every answer as bytes or str, sync or async
        ids = redis.lrange(JobKey.STATUS_INDEX.of(job_id), 0, -1)
        pipe = redis.pipeline(transaction=False)
        for entry_id in ids:
            if entry_position(entry_id) > entry.position:
                pipe.xrange(JobKey.EVENTS.of(job_id), entry_id, entry_id)
        return [Entry(*row) for rows in pipe.execute() for row in rows]

    def lines_noted(self, job_id: str, first: int, end: int) -> int:
        """How many more lines than their own the log lines from ``first`` to before ``end`` stand
        for: notes about lines that were cut before they came into the stream."""
        notes: Any = self.redis.lrange(JobKey.CUT_NOTES.of(job_id), 0, -1)
        pairs = (map(int, note.split()) for note in notes)
        return sum(lines - 1 for number, lines in pairs if first <= number < end)

    def hold(self, claim: Claim) -> None:
        """Store the claim's changes and extend its lock. Raises HoldLost."""
        self._store(claim, "", "")

    def set_aside(
        self, claim: Claim, entry: Entry, reason: str, http_status: int | None = None
    ) -> None:
        """Record an entry that will never be delivered, and :meth:`hold`. Raises HoldLost.

        The record holds up to 2,000 characters of the entry's data, and its stream id; people read
        it through ``delivery_report``.
        """
        record = {
            "job_id": claim.job_id,
            "entry_id": entry.entry_id,
            "kind": entry.kind,
            "attempt": entry.fields.get("attempt"),
            "sequence": entry.fields.get("sequence"),
            "data": entry.fields.get("data", "")[:_DATA_LIMIT],
            "reason": reason,
            "http_status": http_status,
            "at": int(time.time()),
        }
        self._store(claim, entry.kind, json.dumps(record))

    def put_back(self, claim: Claim, *, due_in_s: float) -> None:
        """Give the job back, due in so many seconds. Raises HoldLost."""
        self._give_back(claim, str(int(due_in_s * 1000)), "", "")

    def put_back_kind(self, claim: Claim, *, due_in_s: float, after: str) -> bool:
        """Give a job back of which some kinds wait; a new event, of another kind maybe, ends that.

        False, and the job still held, where events lie beyond ``after``. Raises HoldLost.
        """
        return self._give_back(claim, str(int(due_in_s * 1000)), after, "1")

    def finish(self, claim: Claim) -> bool:
        """Give a job back that has nothing left beyond its cursor. Raises HoldLost.

        False, and the job still held, where an event came meanwhile.
        """
        return self._give_back(claim, "", claim.state.get("cursor") or "0-0", "")

    def note_missing_route(self, route: str, *, missing: bool) -> None:
        """Remember for people that the backend lacks a route, or has it now."""
        if missing:
            self.redis.hset(Key.MISSING_ROUTES, route, str(int(time.time())))
        else:
            self.redis.hdel(Key.MISSING_ROUTES, route)

    @property
    def _lock_ms(self) -> int:
        return int(self.lock_s * 1000)

    def _store(self, claim: Claim, kind: str, record: str) -> None:
        asked = time.monotonic()
        now_ms, last_status = self._hold(
            args=[
                claim.job_id,
                claim.holder,
                self._lock_ms,
                record,
                kind,
                SET_ASIDE_KEPT,
                *_pairs(claim.changed),
            ]
        )
        if not now_ms:
            raise HoldLost(claim.job_id)
        claim.changed.clear()
        claim.now_ms, claim.last_status = now_ms, last_status
        claim.held_until = asked + self.lock_s

    def _give_back(self, claim: Claim, due_in_ms: str, after: str, soft: str) -> bool:
        done = self._release(
            args=[claim.job_id, claim.holder, due_in_ms, after, soft, *_pairs(claim.changed)]
        )
        if done < 0:
            raise HoldLost(claim.job_id)
        claim.changed.clear()
        return bool(done)


def _pairs(fields: Mapping[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]
