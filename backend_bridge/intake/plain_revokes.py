"""Revokes of Celery applications that name only the broker: passed on to our workers.

Our broker's keys and channels begin with a prefix, so that another application's remote commands
(its ``shutdown``, for one) reach no worker of ours. A backend that revokes an attempt by its task
id means our job all the same, whatever its application is called.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from backend_bridge.intake.celery_requests import CeleryMessage, NotUnderstood
from trainyard.contract.names import BROKER_PREFIX, ContractError, parse_attempt_id
from trainyard.store.job_store import JobStore

LOOK_EVERY_S = 0.5
_METHODS = ("revoke", "terminate")
logger = logging.getLogger(__name__)


class PlainRevokes:
    """Passes on what names an attempt of ours. Passed on twice, by two couriers, it is one."""

    def __init__(self, redis: Redis, store: JobStore) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self.store = store
        database = redis.connection_pool.connection_kwargs.get("db") or 0
        self.channel = f"/{database}.celery.pidbox"  # kombu's, of the exchange of remote commands

    def run(self, stop: threading.Event) -> None:
        """Listen until ``stop`` is set, also over an outage of Redis."""
        while not stop.is_set():
            try:
                with self.redis.pubsub(ignore_subscribe_messages=True) as heard:
                    heard.subscribe(self.channel)
                    while not stop.is_set():
                        message = heard.get_message(timeout=LOOK_EVERY_S)
                        if message is not None:
                            self.pass_on(message["data"])
            except RedisError as error:
                logger.warning("revokes: %s", error, extra={"action": "redis_away"})
                stop.wait(LOOK_EVERY_S)

    def pass_on(self, message: str) -> bool:
        """Publish a message to our workers if it revokes an attempt of ours. Raises RedisError."""
        if not any(self._is_ours(task_id) for task_id in _revoked(message)):
            return False
        self.redis.publish(f"{BROKER_PREFIX}{self.channel}", message)
        return True

    def _is_ours(self, task_id: str) -> bool:
        try:
            job_id, _ = parse_attempt_id(task_id)
        except ContractError:
            return False
        return self.store.get(job_id) is not None


def _revoked(message: str) -> list[str]:
    """Task ids that a remote command revokes; none of another command or of what is no command."""
    try:
        command = CeleryMessage(message).payload()
        named = command["arguments"]["task_id"] if command["method"] in _METHODS else []
    except (NotUnderstood, LookupError, TypeError):
        return []
    ids = named if isinstance(named, list) else [named]
    return [task_id for task_id in ids if isinstance(task_id, str)]
