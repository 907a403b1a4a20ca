"""Couriers: each says, from a loop in which it works, that it is there; duties are of one of them.

Without any, nothing is reported, and nobody sees that a worker was lost.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import Any

from redis import Redis

from trainyard.store.keys import DUTY, Key
from trainyard.store.scripts import script

ALIVE_FOR_S = 15


class CourierRegister:
    """Couriers of all hosts in Redis; one that stops beating is gone after ALIVE_FOR_S."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def beat(self) -> None:
        """Say that this courier works. Raises redis.RedisError."""
        now_s = self._now()
        pipe = self.redis.pipeline()
        pipe.zadd(Key.COURIERS, {self.name: now_s + ALIVE_FOR_S})
        pipe.zremrangebyscore(Key.COURIERS, "-inf", now_s)
        pipe.execute()

    def count(self) -> int:
        """How many work. A beat beyond what one is good for is of a clock that was set back."""
        now_s = self._now()
        return int(self.redis.zcount(Key.COURIERS, now_s, now_s + ALIVE_FOR_S))

    def _now(self) -> int:
        return int(self.redis.time()[0])


class Duty:
    """The duty of ``work``, for a courier that asks every ``every_s`` seconds.

    Any courier can do it, and if all did, a fleet's work would grow with the square of its size: it
    is for who asks first, while they go on asking. Who has not asked for three times as long has
    lost it to the next who does.
    """

    def __init__(self, redis: Redis, work: str, *, every_s: float) -> None:
        self._key = DUTY + work
        self._me = secrets.token_hex(8)
        self._keep_ms = max(1, int(3000 * every_s))
        self._ask = script(redis, "duty")

    def is_mine(self) -> bool:
        """Ask for it, and keep it for a while. Raises RedisError."""
        return bool(self._ask(args=[self._key, self._me, self._keep_ms]))

    def leave(self) -> None:
        """Give it up, if it is mine. Raises RedisError."""
        self._ask(args=[self._key, self._me, 0])
