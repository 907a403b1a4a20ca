"""Ask listener: hears at once that somebody wants something of a running attempt.

The lease is renewed some times a second, and each renewal tells what people want; this spares the
wait for the next one. Whatever is not heard here (Redis away, a silent connection) is found then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from trainyard.store.keys import Key

_LOOK_S = 1.0
"""A listener that is not wanted any more ends within so long; nobody waits for that."""


class AskListener:
    """A context manager, within which ``wake`` is called when the job is asked for something."""

    def __init__(self, redis: Redis, job_id: str, wake: Callable[[], None]) -> None:
        self._redis = redis
        self._job_id = job_id
        self._wake = wake
        self._over = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, name="asks", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._over.set()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]  # as redis-py has it
                    pubsub.subscribe(Key.ASKED)
                    while not self._over.is_set():
                        message = pubsub.get_message(timeout=_LOOK_S)
                        if message is not None and message["data"] == self._job_id:
                            self._wake()
            # The lease says so, and is renewed without this. A connection that its owner closes
            # meanwhile has no descriptor to wait for: the last two.
            except (RedisError, OSError, TypeError, ValueError):
                self._over.wait(_LOOK_S)
