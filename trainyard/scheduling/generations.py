"""Generations on their way: what was asked waits for a slot, what is said waits to be read.

All of it lives only as long as somebody waits: whoever asked renews it, and what is not renewed is
gone by itself.
"""

from __future__ import annotations

import secrets
from typing import Any

from pydantic import TypeAdapter
from redis import Redis

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.generation.messages import AskedOfJob, Said
from trainyard.store.keys import GenerationKey, Key

WAITING_MAX = 32
WANTED_FOR_S = 15
"""Who asks renews it more often than that."""
SERVED_FOR_S = 15
TURN_S = 60.0
"""So long questions are taken up by a slot for which a training waits; then that goes first."""
_SAID = TypeAdapter[Said](Said)


class TooManyWait(TrainyardError):
    """As many generations wait as may."""


class Generations:
    """All generations of one Redis. Every method raises redis.RedisError if it does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py types every answer as bytes or str, sync or async

    # ------------------------------------------------------------ who asks

    def ask(self, asked: AskedOfJob) -> str:
        """Let it wait for a slot; returns its id. Raises TooManyWait."""
        if len(self.waiting()) >= WAITING_MAX:
            raise TooManyWait(
                f"{WAITING_MAX} generations wait already for a slot.", "Ask again in a while."
            )
        generation_id = f"generation-{secrets.token_hex(8)}"
        pipe = self._redis.pipeline()
        pipe.set(GenerationKey.ASKED.of(generation_id), asked.model_dump_json(), ex=WANTED_FOR_S)
        seconds, micros = self._redis.time()
        pipe.zadd(Key.GENERATIONS, {generation_id: seconds + micros / 1e6})
        pipe.execute()
        return generation_id

    def renew(self, generation_id: str) -> None:
        """It is still wanted."""
        pipe = self._redis.pipeline(transaction=False)
        for key in (GenerationKey.ASKED, GenerationKey.SAID, GenerationKey.WAY):
            pipe.expire(key.of(generation_id), WANTED_FOR_S)
        pipe.execute()

    def hear(self, generation_id: str, heard: int) -> list[Said]:
        """What was said after the first ``heard`` things."""
        said = self._redis.lrange(GenerationKey.SAID.of(generation_id), heard, -1)
        return [_SAID.validate_json(one) for one in said]

    def position(self, generation_id: str) -> int | None:
        """1: the next; None: it does not wait any more."""
        rank = self._redis.zrank(Key.GENERATIONS, generation_id)
        return None if rank is None else int(rank) + 1

    def who_makes_way(self, generation_id: str) -> str:
        """Id of the job that is asked to make way for it; "" if none is."""
        asked = self._redis.get(GenerationKey.WAY.of(generation_id)) or ""
        return str(asked.rpartition(":")[0])

    def is_served(self, generation_id: str) -> bool:
        """Whether a worker has vouched for it of late."""
        return bool(self._redis.exists(GenerationKey.SERVED.of(generation_id)))

    def let_go(self, generation_id: str) -> None:
        """Nobody wants it any more."""
        pipe = self._redis.pipeline()
        pipe.zrem(Key.GENERATIONS, generation_id)
        pipe.delete(*(key.of(generation_id) for key in GenerationKey))
        pipe.execute()

    # ------------------------------------------------------------ who answers

    def waiting(self) -> list[str]:
        """What waits for a slot and is wanted, the oldest first; the rest is forgotten."""
        ids: list[str] = self._redis.zrange(Key.GENERATIONS, 0, -1)
        wanted = [one for one in ids if self.is_wanted(one)]
        if forgotten := set(ids) - set(wanted):
            self._redis.zrem(Key.GENERATIONS, *forgotten)
        return wanted

    def questions(self) -> dict[str, AskedOfJob]:
        """What waits for a slot and is wanted, the oldest first."""
        found = {one: self.read(one) for one in self.waiting()}
        return {one: asked for one, asked in found.items() if asked is not None}

    def read(self, generation_id: str) -> AskedOfJob | None:
        """What was asked; None if nobody waits for it any more."""
        asked = self._redis.get(GenerationKey.ASKED.of(generation_id))
        return None if asked is None else AskedOfJob.model_validate_json(asked)

    def claim(self, generation_id: str) -> AskedOfJob | None:
        """Take it, as the only one; None if another has it, or nobody wants it."""
        self.vouch(generation_id)  # first: for no moment it neither waits nor is served
        if not self._redis.zrem(Key.GENERATIONS, generation_id):
            return None
        return self.read(generation_id)

    def vouch(self, generation_id: str) -> None:
        """Somebody is at it."""
        self._redis.set(GenerationKey.SERVED.of(generation_id), 1, ex=SERVED_FOR_S)

    def is_wanted(self, generation_id: str) -> bool:
        return bool(self._redis.exists(GenerationKey.ASKED.of(generation_id)))

    def say(self, generation_id: str, said: Said) -> None:
        """Add to the answer."""
        key = GenerationKey.SAID.of(generation_id)
        pipe = self._redis.pipeline()
        pipe.rpush(key, said.model_dump_json())
        pipe.expire(key, WANTED_FOR_S)
        pipe.execute()
