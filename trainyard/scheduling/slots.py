"""Registry of slots: those that are alive say so every few seconds, through their couriers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from trainyard.contract.error_tree import TrainyardError
from trainyard.settings import Settings
from trainyard.store.keys import Key

ALIVE_FOR_S = 15
BEAT_EVERY_S = 5


@dataclass(frozen=True)
class Slot:
    """One living slot; ``info`` is what its worker knows of its GPU."""

    name: str
    info: Mapping[str, Any]


class NameTaken(TrainyardError):
    """Two hosts go by one name: a pause, a resume or a kill could reach the wrong one."""


class SlotRegistry:
    """Slots with a heartbeat in Redis; one that stops beating is gone after ALIVE_FOR_S."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async

    def beat(self, name: str, info: Mapping[str, Any]) -> None:
        pipe = self.redis.pipeline()
        pipe.zadd(Key.SLOTS, {name: self._now() + ALIVE_FOR_S})
        pipe.hset(Key.SLOT_INFO, name, json.dumps(info))
        pipe.execute()

    def leave(self, name: str) -> None:
        pipe = self.redis.pipeline()
        pipe.zrem(Key.SLOTS, name)
        pipe.hdel(Key.SLOT_INFO, name)
        pipe.execute()

    def check_name(self, name: str, home: str) -> None:
        """Raises NameTaken if a living slot of another TRAINYARD_HOME has this name."""
        ends_s, known = self.redis.zscore(Key.SLOTS, name), self.redis.hget(Key.SLOT_INFO, name)
        now_s = self._now()
        if ends_s is None or known is None or not now_s <= ends_s <= now_s + ALIVE_FOR_S:
            return
        if json.loads(known).get("home", home) != home:
            raise NameTaken(
                f"a worker over another TRAINYARD_HOME runs as the slot {name} on this Redis",
                f"set TRAINYARD_HOST to a name of its own; killed, it is gone in {ALIVE_FOR_S} s",
            )

    def take_out(self, name: str, reason: str) -> None:
        """Remember why a slot takes no more jobs until its worker is started again."""
        self.redis.hset(Key.SLOTS_OUT_OF_SERVICE, name, reason)

    def put_in(self, name: str) -> None:
        """The slot's worker was started (again)."""
        self.redis.hdel(Key.SLOTS_OUT_OF_SERVICE, name)

    def out_of_service(self) -> dict[str, str]:
        """Slots that take no jobs, each with its reason."""
        reasons: dict[str, str] = self.redis.hgetall(Key.SLOTS_OUT_OF_SERVICE)
        return reasons

    def alive(self) -> list[Slot]:
        now_s = self._now()  # a beat beyond what one is good for is of a clock that was set back
        names: list[str] = self.redis.zrangebyscore(Key.SLOTS, now_s, now_s + ALIVE_FOR_S)
        infos: list[str | None] = self.redis.hmget(Key.SLOT_INFO, names) if names else []
        pairs = zip(names, infos, strict=True)
        return sorted((Slot(n, json.loads(i)) for n, i in pairs if i), key=lambda s: s.name)

    def _now(self) -> int:
        return int(self.redis.time()[0])


def slot_count(registry: SlotRegistry, settings: Settings) -> int:
    """Slots that are alive, and no fewer than the settings promise."""
    return max(len(registry.alive()), settings.slots or 1)


def any_gpu(registry: SlotRegistry) -> bool | None:
    """Whether a living slot has a GPU; None if no slot lives to tell."""
    alive = registry.alive()
    return any(slot.info.get("gpus") for slot in alive) if alive else None
