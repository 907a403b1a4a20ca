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
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr
from redis import Redis

from backend_bridge.delivery.stream import Stream
from trainyard.contract.error_tree import Interruption
from trainyard.store.delivery_state import OF_ONE_CURSOR, DeliveryProgress, read_progress
from trainyard.store.scripts import script

SET_ASIDE_KEPT = 1000
"""Records of the set-aside list; older ones are dropped, the count goes on."""

State = tuple[Mapping[str, str], Mapping[str, str]]
"""Fields of a job's delivery hash, and of the missing routes."""


class HoldLost(Interruption):
    """Another sender has taken this job; nothing was written."""


@dataclass
class Hold:
    """A job that this sender holds. What changes in it is stored by the next call of
    :class:`Outbox`.

    ``now_ms``: Redis's clock at the last call; ``held_until``: time.monotonic() until which no
    other sender can take the job; ``last_status``: stream id of the newest status; ``again``: how
    many entries are to be sent again; ``user_id``: whose job it is, "" if nobody said; ``missing``:
    routes that the backend lacks, and when that was last seen (UNIX s), "" for one that is there;
    ``stored``: :meth:`state` as Redis has it.

    ``accepted``: the backend took something; ``set_aside``: a record of what it will never take and
    its kind; ``sent_again``: an entry that was.
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
    missing: dict[str, str]
    stored: State
    accepted: bool = False
    set_aside: tuple[str, str] = ("", "")
    sent_again: str = ""

    def state(self) -> State:
        """What is stored of it; "" for a field or route that is not to be there."""
        fields = self.progress.to_hash() | dict.fromkeys(OF_ONE_CURSOR, "")
        return fields, dict(self.missing)


class Outbox:
    """Holds and releases of jobs with undelivered events, and their streams.

    ``redis`` must decode responses to str. ``lock_s``: seconds for which a :meth:`claim` or a
    :meth:`hold` keeps other senders away. Every method raises redis.RedisError if Redis does not
    answer.
    """

    def __init__(self, redis: Redis, *, lock_s: float) -> None:
        self.stream = Stream(redis)
        self.lock_s, self._lock_ms = lock_s, int(1000 * lock_s)
        self._looked_ms = 0
        self._due, self._claim, self._hold, self._release = (
            script(redis, f"outbox_{name}") for name in ("due", "claim", "hold", "release")
        )

    def due(self, limit: int, *, untaken_s: float = 0.0) -> tuple[list[str], float | None]:
        """Up to ``limit`` jobs that have been due for ``untaken_s``, the longest due first; seconds
        until the next one is due.

        What has become due since the last call wakes the courier that is to send it.
        """
        untaken_ms = int(1000 * untaken_s)
        self._looked_ms, until_next_ms, job_ids = self._due(
            args=[limit, untaken_ms, self._looked_ms]
        )
        return job_ids, float(until_next_ms) / 1000 if until_next_ms else None

    def claim(self, job_id: str) -> Hold | None:
        """Take a job that is due; None if it is not, or another sender has it."""
        asked_at = time.monotonic()
        answer = self._claim(args=[job_id, secrets.token_hex(8), self._lock_ms])
        if answer is None:
            return None
        now_ms, holder, token, fields, last_status, again, user_id, routes = answer
        stored = (_pairs(fields), _pairs(routes))
        return Hold(
            job_id=job_id,
            holder=holder,
            token=SecretStr(token) if token else None,
            progress=read_progress(stored[0]),
            now_ms=now_ms,
            held_until=asked_at + self.lock_s,
            last_status=last_status,
            again=again,
            user_id=user_id,
            missing=dict(stored[1]),
            stored=stored,
        )

    def hold(self, hold: Hold) -> None:
        """Store what changed, and extend the lock. Raises HoldLost."""
        asked_at, state = time.monotonic(), hold.state()
        now_ms, last_status = self._hold(
            args=[
                *(hold.job_id, hold.holder, *_changes(hold.stored, state), self._lock_ms),
                *(int(hold.accepted), hold.sent_again, *hold.set_aside, SET_ASIDE_KEPT),
            ]
        )
        if not now_ms:
            raise HoldLost(hold.job_id)
        hold.stored, hold.accepted, hold.set_aside = state, False, ("", "")
        hold.now_ms, hold.last_status = now_ms, last_status
        hold.held_until = asked_at + self.lock_s

    def release(self, hold: Hold, *, due_in_ms: int | None, seen: str) -> bool:
        """Give the job back, due in so many ms; None: nothing waits. Raises HoldLost.

        True if it is due at once, then also because an entry lies beyond the id ``seen`` ("": no
        matter), or because a person asked.
        """
        due = "" if due_in_ms is None else max(0, due_in_ms)
        changes = _changes(hold.stored, hold.state())
        done = self._release(args=[hold.job_id, hold.holder, *changes, due, seen])
        if done < 0:
            raise HoldLost(hold.job_id)
        return bool(done)


def _changes(stored: State, state: State) -> list[str]:
    """What differs, as JSON: of the fields, and of the routes."""
    pairs = zip(stored, state, strict=True)
    return [json.dumps({k: v for k, v in new.items() if old.get(k, "") != v}) for old, new in pairs]


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
