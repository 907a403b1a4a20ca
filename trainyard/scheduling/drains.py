"""Drains: slots and hosts that a person told to take no more jobs, until a person lifts it.

They lie in Redis, so that a worker that is started again, or a new version of it, knows.
"""

from __future__ import annotations

from typing import Any

from redis import Redis

from trainyard.store.keys import Key


class Drains:
    """Names of the slots and hosts that are drained. Raises RedisError, each method."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async

    def order(self, name: str) -> None:
        self.redis.sadd(Key.DRAINS, name)

    def lift(self, name: str) -> bool:
        """Whether there was one."""
        return bool(self.redis.srem(Key.DRAINS, name))

    def all(self) -> set[str]:
        return set(self.redis.smembers(Key.DRAINS))

    def holds(self, slot: str, host: str) -> bool:
        """Whether a slot of that host is to take no jobs."""
        return not self.all().isdisjoint((slot, host))
