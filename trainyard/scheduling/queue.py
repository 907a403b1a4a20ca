"""Queue of attempts in the broker: enqueue one, take it out, move it to the head, revoke it.

Celery is only the transport: a message carries the attempt's id and nothing else. What a job
is and whether it may run is the job store's to say.

Kombu keeps one Redis list per queue and priority: it pushes on the left and takes from the right,
lower priorities first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import ConnectionError

from trainyard.contract.names import (
    BROKER_PREFIX,
    PRIORITY_DEFAULT,
    PRIORITY_LAST,
    QUEUE_GPU,
    TASK_GENERATE,
    TASK_TRAIN,
)
from trainyard.store.keys import Key

SHOWN_MAX = 100
_SEPARATOR = "\x06\x16"  # kombu's default, see celeryconfig.py


def slot_queue(slot: str) -> str:
    """The queue that only one slot takes from."""
    return f"{QUEUE_GPU}.{slot}"


def shown_as(name: str | None, model: str, user_id: str | None) -> str:
    """Which job it is, for whoever looks at its task; nothing secret, and bounded."""
    known = {"name": name, "model": model, "user": user_id}
    return repr({key: value[:SHOWN_MAX] for key, value in known.items() if value})


class JobQueue:
    """Celery's queues of attempts. ``redis`` is the broker's own database, decoding to str.

    Every method raises redis.RedisError if Redis does not answer.
    """

    def __init__(self, app: Celery, redis: Redis) -> None:
        self.app = app
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async

    def enqueue(
        self,
        attempt_id: str,
        *,
        priority: int = PRIORITY_DEFAULT,
        slot: str | None = None,
        at_head: bool = False,
        shown: str = "{}",
    ) -> None:
        """Send one attempt, to any slot or to ``slot``; sent twice it runs once.

        ``at_head``: before the others of its priority. ``shown``: what Flower and Celery's events
        show as its named arguments (:func:`shown_as`); it has none.
        """
        queue = self._send(TASK_TRAIN, attempt_id, priority, slot, shown)
        if at_head:
            self._move(attempt_id, to=_key(queue, priority))

    def enqueue_generation(self, generation_id: str, slot: str | None) -> None:
        """Send a generation: it takes seconds, and a person waits, so it goes before the jobs."""
        self._send(TASK_GENERATE, generation_id, 0, slot)

    def remove(self, attempt_id: str) -> bool:
        """Take a waiting attempt out of the broker; False if it was not there."""
        found = [(key, raw) for key, raw in self._messages() if _is_of(raw, attempt_id)]
        return sum(int(self.redis.lrem(key, 1, raw)) for key, raw in found) > 0

    def to_head(self, attempt_id: str, slot: str | None = None) -> None:
        """Let a waiting attempt be taken next, by any slot or by ``slot``."""
        self._move(attempt_id, to=_key(slot_queue(slot) if slot else QUEUE_GPU, 0))

    def attempts(self, slots: Iterable[str]) -> set[str]:
        """Ids of the attempts that wait where any slot, or one of ``slots``, will take them."""
        served = {key for queue in _served(slots) for key in keys_of(queue)}
        return {_task_id(raw) for key, raw in self._messages() if key in served}

    def count(self, slots: Iterable[str]) -> int:
        """How many attempts wait there; generations, which are all of priority 0, are none."""
        pipe = self.redis.pipeline(transaction=False)
        for queue in _served(slots):
            first, *others = keys_of(queue)
            pipe.lrange(first, 0, -1)
            for key in others:
                pipe.llen(key)
        return sum(
            found if isinstance(found, int) else sum(not _is_generation(raw) for raw in found)
            for found in pipe.execute()
        )

    def revoke(self, attempt_id: str, worker: str) -> bool:
        """Revoke with terminate=True: the supervisor in ``worker`` kills the training.

        Returns whether the worker (a Celery node name) confirmed it within a second.
        """
        with _errors_of_redis():
            answers: list[dict[str, Any]] | None = self.app.control.revoke(
                attempt_id,
                destination=[worker],
                terminate=True,
                signal="SIGTERM",
                reply=True,
                timeout=1.0,
                limit=1,
            )
        return bool(answers)

    def release_parked(self, attempt_id: str, worker: str) -> None:
        """Tell ``worker`` to end the parked training of an attempt. Does not wait."""
        with _errors_of_redis():
            self.app.control.broadcast(
                "release_parked", destination=[worker], arguments={"attempt_id": attempt_id}
            )

    def _send(
        self, task: str, task_id: str, priority: int, slot: str | None, shown: str = "{}"
    ) -> str:
        """Send to any slot or to ``slot``; returns the queue."""
        queue = slot_queue(slot) if slot else QUEUE_GPU
        if slot:
            self.redis.sadd(Key.PINNED_QUEUES, queue)
        with _errors_of_redis():
            self.app.send_task(
                task,
                args=[task_id],
                task_id=task_id,
                queue=queue,
                priority=priority,
                ignore_result=True,
                kwargsrepr=shown,
            )
        return queue

    def _move(self, attempt_id: str, to: str) -> None:
        for key, raw in self._messages():
            if _is_of(raw, attempt_id):
                pipe = self.redis.pipeline()  # MULTI: never in neither list
                pipe.lrem(key, 1, raw)
                pipe.rpush(to, raw)
                pipe.execute()

    def _messages(self) -> list[tuple[str, str]]:
        """(list, message) of everything that waits, wherever."""
        queues = (QUEUE_GPU, *self.redis.smembers(Key.PINNED_QUEUES))
        keys = [key for queue in queues for key in keys_of(queue)]
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            pipe.lrange(key, 0, -1)
        found = zip(keys, pipe.execute(), strict=True)
        return [(key, raw) for key, messages in found for raw in messages]


@contextmanager
def _errors_of_redis() -> Iterator[None]:
    """Kombu has an error of its own for a broker that does not answer."""
    try:
        yield
    except OperationalError as error:
        raise ConnectionError(str(error)) from error


def _key(queue: str, priority: int, prefix: str = BROKER_PREFIX) -> str:
    return f"{prefix}{queue}{_SEPARATOR}{priority}" if priority else f"{prefix}{queue}"


def keys_of(queue: str, prefix: str = BROKER_PREFIX) -> list[str]:
    """Redis lists of a queue, in the order in which they are served."""
    return [_key(queue, priority, prefix) for priority in range(PRIORITY_LAST + 1)]


def _served(slots: Iterable[str]) -> list[str]:
    return [QUEUE_GPU, *map(slot_queue, slots)]


def _is_of(raw: str, attempt_id: str) -> bool:
    """Whether a raw message is that attempt's; of thousands that wait few are parsed."""
    return attempt_id in raw and _task_id(raw) == attempt_id


def _is_generation(raw: str) -> bool:
    return TASK_GENERATE in raw and _header(raw, "task") == TASK_GENERATE


def _task_id(raw: str) -> str:
    return _header(raw, "id")


def _header(raw: str, name: str) -> str:
    """Header of a raw message; "" for one that is not Celery's, which is not ours to judge."""
    try:
        return str(json.loads(raw)["headers"][name])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
