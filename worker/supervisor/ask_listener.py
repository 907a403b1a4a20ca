"""Ask listener: hears at once that somebody wants something of a running attempt.

Each renewal of the lease tells what people want; this spares the wait for the next one. Whatever is
not heard here (Redis away, a silent connection) is found then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from trainyard.store.keys import Key

_LOOK_S = 1.0
"""A listener that is not wanted any more ends within so long; nobody waits for that."""


@contextmanager
def listening_for_asks(redis: Redis, job_id: str, wake: Callable[[], None]) -> Iterator[None]:
    """Call ``wake``, in a thread, when the job is asked for something, and when that is heard from
    now on: what was asked before was not."""
    over = threading.Event()
    listen = threading.Thread(
        target=_listen, args=(redis, job_id, wake, over), name="asks", daemon=True
    )
    listen.start()
    try:
        yield
    finally:
        over.set()


def _listen(redis: Redis, job_id: str, wake: Callable[[], None], over: threading.Event) -> None:
    while not over.is_set():
        try:
            with redis.pubsub() as pubsub:  # type: ignore[no-untyped-call]  # as redis-py has it
                pubsub.subscribe(Key.ASKED)
                while not over.is_set():
                    message = pubsub.get_message(timeout=_LOOK_S)
                    if message is not None and _is_for(job_id, message):
                        wake()
            # The pool hands this connection out next, and now it is closed: the next claim would
            # have to connect first.
            redis.ping()
        # The lease says so, and is renewed without this. A connection that its owner closes
        # meanwhile has no descriptor to wait for: the last two.
        except (RedisError, OSError, TypeError, ValueError):
            over.wait(_LOOK_S)


def _is_for(job_id: str, message: dict[str, Any]) -> bool:
    return bool(message["type"] == "subscribe" or message["data"] == job_id)
