"""Leases on the names of slots: a slot has one worker, so that it runs one job.

A worker's main process holds the lease from before it takes jobs until it ends; a claim of any
other worker under that name is refused (``store/lua/transition.lua``).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from redis import Redis

from trainyard.contract.error_tree import TrainyardError
from trainyard.store.keys import Key
from trainyard.store.scripts import script

LEASE_S = 15.0


class NameTaken(TrainyardError):
    """Another worker has the slot: two jobs would run on it, and a pause could reach the wrong."""


@dataclass(frozen=True)
class Holder:
    """A worker that holds a slot's name.

    ``worker``: its id, that of its slot process; ``birth``: which process it is, should ``pid`` be
    another's by now; ``home``: the id of its TRAINYARD_HOME.
    """

    worker: str
    host: str
    pid: int
    birth: str
    home: str


@dataclass(frozen=True)
class SlotLease:
    """The lease of ``holder``; ``ends_ms`` by Redis's clock moves on while it lives."""

    holder: Holder
    ends_ms: int


class SlotLeases:
    """All of them, in Redis. Every method raises RedisError if it does not answer."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self._script = script(redis, "slot_lease")

    def take(self, slot: str, me: Holder, gone: str = "") -> SlotLease | None:
        """Take the name or renew the lease; the lease of another worker if that stands.

        ``gone``: a worker that is known to have ended, whatever its lease says.
        """
        return self._ask("take", slot, me, gone)

    def look(self, slot: str, me: Holder, gone: str = "") -> SlotLease | None:
        """As :meth:`take`, and nothing is taken."""
        return self._ask("look", slot, me, gone)

    def holders(self) -> dict[str, Holder]:
        """Who took each name last; its lease may have run out."""
        leases = self.redis.hgetall(Key.SLOT_LEASES)
        return {n: Holder(**json.loads(json.loads(one)["holder"])) for n, one in leases.items()}

    def release(self, slot: str, me: Holder) -> None:
        """Give the name back, if it is still ours."""
        self._ask("release", slot, me, "")

    def _ask(self, act: str, slot: str, me: Holder, gone: str) -> SlotLease | None:
        holder = json.dumps(asdict(me))
        found = self._script(args=[act, slot, me.worker, holder, int(1000 * LEASE_S), gone])
        if not found:
            return None
        lease = json.loads(found)
        return SlotLease(Holder(**json.loads(lease["holder"])), int(lease["ends_ms"]))
