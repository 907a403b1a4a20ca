"""The broker's side of a job: enqueue an attempt, take it out, revoke it.

Celery is the transport alone: a message carries the attempt's id and nothing else. What a job
is and whether it may run is the job store's to say.
"""

from __future__ import annotations

import json
from typing import Any

from celery import Celery
from redis import Redis

from backend_bridge.contract import QUEUE_GPU, TASK_TRAIN


class JobQueue:
    """Celery's queue of attempts. ``redis`` is the broker's own database, decoding to str."""

    def __init__(self, app: Celery, redis: Redis) -> None:
        self.app = app
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async

    def enqueue(self, attempt_id: str) -> None:
        """Send one attempt to any slot. Sent twice it runs once: the claim is guarded."""
        self.app.send_task(
            TASK_TRAIN,
            args=[attempt_id],
            task_id=attempt_id,
            queue=QUEUE_GPU,
            ignore_result=True,
        )

    def remove(self, attempt_id: str) -> bool:
        """Take a waiting attempt out of the broker; False where it was not there."""
        removed = 0
        for raw in self._messages():
            if _task_id(raw) == attempt_id:
                removed += int(self.redis.lrem(QUEUE_GPU, 1, raw))
        return removed > 0

    def attempts(self) -> set[str]:
        """Ids of the attempts that wait in the broker."""
        return {_task_id(raw) for raw in self._messages()}

    def __len__(self) -> int:
        return int(self.redis.llen(QUEUE_GPU))

    def revoke(self, attempt_id: str, worker: str) -> bool:
        """Revoke with terminate=True: the supervisor in ``worker`` kills the training.

        Returns whether the worker (a Celery node name) confirmed it within a second.
        """
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

    def _messages(self) -> list[str]:
        messages: list[str] = self.redis.lrange(QUEUE_GPU, 0, -1)
        return messages


def _task_id(raw: str) -> str:
    """Task id of a raw message; "" for one that is not Celery's, which is not ours to judge."""
    try:
        return str(json.loads(raw)["headers"]["id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
