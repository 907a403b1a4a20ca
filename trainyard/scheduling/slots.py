"""Registry of slots: a courier says that the host of one is there, its worker that it takes jobs.

The courier is a process of its own and beats on when the worker's main process is stuck, so only
the worker's own stamp makes a slot alive.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis import Redis

from trainyard.scheduling.drains import Drains
from trainyard.scheduling.slot_names import host_of
from trainyard.settings import Settings
from trainyard.store.keys import Key

ALIVE_FOR_S = 15
BEAT_EVERY_S = 5
KNOWN_FOR_S = 7 * 86_400
STAMP_EVERY_S = 3.0
STAMP_GOOD_FOR_S = 15


class SlotState(StrEnum):
    """What a slot's worker does: prove that it can train, take jobs, take none because it was told
    so or outside of its hours, or not say."""

    PROVING = "proving"
    CONSUMING = "consuming"
    DRAINED = "drained"
    RESTING = "resting"
    SILENT = "silent"


@dataclass(frozen=True)
class Slot:
    """One slot whose host is there; ``info`` is what its worker knows of its GPU, ``silent_s`` for
    how long it has not stamped (None: never), ``until`` when it rests."""

    name: str
    info: Mapping[str, Any]
    state: SlotState = SlotState.CONSUMING
    silent_s: int | None = 0
    until: str = ""

    @property
    def idle_reason(self) -> str | None:
        """Why no job goes there; None if one may."""
        match self.state:
            case SlotState.CONSUMING:
                return None
            case SlotState.DRAINED:
                return "its worker was told to take no more jobs (trainyard drain, cancel_consumer)"
            case SlotState.RESTING:
                return f"its hours (ACTIVE_HOURS) are {self.info.get('hours')}: until {self.until}"
            case SlotState.PROVING:
                return "its worker tries whether it can train"
        if self.silent_s is None:
            return "its worker has not begun to take jobs"
        return f"its worker has not taken jobs for {self.silent_s} s, though its host is there"


class SlotRegistry:
    """Slots with a heartbeat in Redis; one that stops beating is gone after ALIVE_FOR_S."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async

    def beat(self, name: str, info: Mapping[str, Any]) -> None:
        """Say that the host of a slot is there."""
        pipe = self.redis.pipeline()
        pipe.zadd(Key.SLOTS, {name: self._now() + ALIVE_FOR_S})
        pipe.hset(Key.SLOT_INFO, name, json.dumps(info))
        pipe.execute()

    def stamp(self, name: str, state: SlotState, until: str = "") -> None:
        """Say what the worker of a slot does, from the loop in which it does it."""
        self.redis.hset(Key.SLOT_STAMPS, name, f"{self._now()} {state} {until}".rstrip())

    def takes_jobs(self, name: str) -> bool:
        """Whether a slot takes jobs, as its worker said last."""
        stamp = self.redis.hget(Key.SLOT_STAMPS, name)
        return _read_stamp(stamp, self._now())[0] is SlotState.CONSUMING

    def leave(self, name: str) -> None:
        pipe = self.redis.pipeline()
        pipe.zrem(Key.SLOTS, name)
        pipe.hdel(Key.SLOT_INFO, name)
        pipe.hdel(Key.SLOT_STAMPS, name)
        pipe.execute()

    def take_out(self, name: str, reason: str) -> None:
        """Remember why a slot takes no jobs until it has proven itself."""
        self.redis.hset(Key.SLOTS_OUT_OF_SERVICE, name, reason)

    def put_in(self, name: str) -> None:
        """The slot has proven itself."""
        self.redis.hdel(Key.SLOTS_OUT_OF_SERVICE, name)

    def out_of_service(self) -> dict[str, str]:
        """Slots that take no jobs, each with its reason."""
        reasons: dict[str, str] = self.redis.hgetall(Key.SLOTS_OUT_OF_SERVICE)
        return reasons

    def idle(self) -> dict[str, str]:
        """Every slot that takes no jobs now, each with its reason."""
        reasons = {slot.name: slot.idle_reason for slot in self.present()}
        return {name: reason for name, reason in reasons.items() if reason} | self.out_of_service()

    def known(self) -> set[str]:
        """Slots that were there within a week, and have not left in order since."""
        oldest_s = self._now() - KNOWN_FOR_S
        return set(self.redis.zrangebyscore(Key.SLOTS, oldest_s, "+inf"))

    def expected(self) -> set[str]:
        """Those of them that should take jobs: nobody has drained them, and it is their hour."""
        drained = Drains(self.redis).all()
        resting = {slot.name for slot in self.present() if slot.state is SlotState.RESTING}
        known = self.known() - resting
        return {name for name in known if drained.isdisjoint((name, host_of(name)))}

    def alive(self) -> list[Slot]:
        """Slots that take jobs."""
        return [slot for slot in self.present() if slot.state is SlotState.CONSUMING]

    def names_alive(self) -> list[str]:
        """Names of the slots that take jobs."""
        return [slot.name for slot in self.alive()]

    def served(self) -> set[str]:
        """Slots in whose own queue a job may wait: they take jobs, or no other sees their files."""
        present = self.present()
        homes = {s.info.get("home") for s in present if s.state is SlotState.CONSUMING}
        return {
            s.name
            for s in present
            if s.state is SlotState.CONSUMING or s.info.get("home") not in homes
        }

    def present(self) -> list[Slot]:
        """Slots whose host is there, whatever their workers do."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.time()
        pipe.zrange(Key.SLOTS, 0, -1, withscores=True)
        pipe.hgetall(Key.SLOT_INFO)
        pipe.hgetall(Key.SLOT_STAMPS)
        (now_s, _), beats, infos, stamps = pipe.execute()
        # A beat beyond what one is good for is of a clock that was set back.
        names = [name for name, until in beats if now_s <= until <= now_s + ALIVE_FOR_S]
        return [
            Slot(name, json.loads(infos[name]), *_read_stamp(stamps.get(name), now_s))
            for name in sorted(names)
            if name in infos
        ]

    def _now(self) -> int:
        return int(self.redis.time()[0])


def _read_stamp(stamp: str | None, now_s: int) -> tuple[SlotState, int | None, str]:
    if stamp is None:
        return SlotState.SILENT, None, ""
    at_s, _, rest = stamp.partition(" ")
    state, _, until = rest.partition(" ")
    silent_s = abs(now_s - int(at_s))
    said = state if silent_s <= STAMP_GOOD_FOR_S else SlotState.SILENT
    return SlotState(said), silent_s, until


def slot_count(registry: SlotRegistry, settings: Settings) -> int:
    """Slots that are alive, and no fewer than the settings promise."""
    return max(len(registry.alive()), settings.slots or 1)


def any_gpu(registry: SlotRegistry) -> bool | None:
    """Whether a living slot has a GPU; None if no slot lives to tell."""
    alive = registry.alive()
    return any(slot.info.get("gpus") for slot in alive) if alive else None
