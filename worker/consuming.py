"""Consuming, as the worker's main process does it: stamped from the loop in which it takes jobs.

A heartbeat from anywhere else goes on when consumers were cancelled, when the pool is gone, when
the loop hangs, and when Celery has lost a connection without noticing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any

from celery.bootsteps import RUN
from celery.worker import state as worker_state
from redis.exceptions import RedisError

from trainyard.scheduling.slots import STAMP_EVERY_S, SlotRegistry, SlotState
from trainyard.settings import settings
from trainyard.store.connection import connect

TIMEOUT_S = 1.0
"""The loop waits so long for Redis at most."""
FETCH_LATE_S = 15.0
"""An idle worker asks for the next job about once a second."""
HANDED_OVER_S = 15.0
"""The pool takes a job within milliseconds; within 5 s if its child was killed."""

logger = logging.getLogger(__name__)


class Consuming:
    """What the consumer of one worker does, and its stamp in the registry.

    ``consumer`` is Celery's, once it is ready: what it consumes then is what it should.
    """

    def __init__(self, consumer: Any, slot: str) -> None:
        self._consumer = consumer
        self._slot = slot
        self._queues: Collection[str] = list(consumer.app.amqp.queues.consume_from)
        self._in_hand: dict[str, float] = {}
        redis = connect(settings().redis_location, retries=0, timeout_s=TIMEOUT_S)
        self._registry = SlotRegistry(redis)

    def start(self) -> None:
        """Stamp now, and from the consumer's own timer."""
        self.stamp()
        self._consumer.timer.call_repeatedly(STAMP_EVERY_S, self.stamp)

    def stamp(self) -> None:
        """Say what is so; nothing if it is not well: a stamp that is old is seen by everybody."""
        state = self.state()
        if state is SlotState.SILENT:
            return
        try:
            self._registry.stamp(self._slot, state)
        except RedisError as error:
            logger.warning("not stamped: %s", error, extra={"action": "redis_away"})

    def state(self) -> SlotState:
        """By Celery's own account, at this moment."""
        consumer = self._consumer
        if worker_state.should_stop is not None or consumer.blueprint.state != RUN:
            return SlotState.SILENT
        if consumer.pool.num_processes < 1 or self._pool_takes_nothing():
            return SlotState.SILENT
        tasks = consumer.task_consumer
        if not all(tasks.consuming_from(queue) for queue in self._queues):
            return SlotState.DRAINED
        return SlotState.CONSUMING if self._fetches(tasks.channel) else SlotState.SILENT

    def _pool_takes_nothing(self) -> bool:
        """Whether a job that was taken from the queue lies here and no child works on it."""
        now = time.monotonic()
        waiting = [r.id for r in worker_state.reserved_requests if r.worker_pid is None]
        self._in_hand = {task_id: self._in_hand.get(task_id, now) for task_id in waiting}
        return any(now - since > HANDED_OVER_S for since in self._in_hand.values())

    def _fetches(self, channel: Any) -> bool:
        """Whether it asks for jobs if it may take one; busy, it must not."""
        # Of kombu's Redis transport: when the last BRPOP was sent. Nothing public tells.
        sent_at = channel._brpop_sent_at
        return not channel.qos.can_consume() or (
            sent_at is not None and time.monotonic() - sent_at < FETCH_LATE_S
        )
