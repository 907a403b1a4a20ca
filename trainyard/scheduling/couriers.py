"""Register of couriers: each says, from a loop in which it works, that it is there.

Without any, nothing is reported, and nobody sees that a worker was lost.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from redis import Redis

from trainyard.store.keys import Key

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
