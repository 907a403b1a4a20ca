"""Consuming, as the worker's main process does it: stamped from the loop in which it takes jobs.

A heartbeat from anywhere else goes on when consumers were cancelled, when the pool is gone, when
the loop hangs, and when Celery has lost a connection without noticing. Jobs are taken only while
the slot is fit and not drained, and within its hours.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Any

from celery.bootsteps import RUN
from celery.worker import state as worker_state
from redis.exceptions import RedisError

from trainyard.contract.names import QUEUE_GPU
from trainyard.scheduling.drains import Drains
from trainyard.scheduling.queue import slot_queue
from trainyard.scheduling.slot_leases import NameTaken
from trainyard.scheduling.slot_names import host_name
from trainyard.scheduling.slots import STAMP_EVERY_S, SlotRegistry, SlotState
from trainyard.settings import settings
from trainyard.store.connection import connect
from worker.active_hours import SlotHours
from worker.slot import LOOP_TIMEOUT_S
from worker.slot_lease import NameLease

FETCH_LATE_S = 15.0
"""An idle worker asks for the next job about once a second."""
HANDED_OVER_S = 15.0
"""The pool takes a job within milliseconds; within 5 s if its child was killed."""

logger = logging.getLogger(__name__)


def own_queues(slot: str) -> tuple[str, str]:
    """The queues that a slot's worker takes from."""
    return QUEUE_GPU, slot_queue(slot)


class Consuming:
    """What the consumer of one worker does, and its stamp in the registry.

    ``consumer`` is Celery's, once it is ready; ``name`` the lease on the slot, renewed with each
    stamp. ``fit`` is set from outside; ``drained`` as a person has ordered it.
    """

    def __init__(self, consumer: Any, slot: str, name: NameLease) -> None:
        self.fit = False
        self.drained = False
        self._consumer = consumer
        self._slot = slot
        self._name = name
        self._in_hand: dict[str, float] = {}
        redis = connect(settings().redis_location, retries=0, timeout_s=LOOP_TIMEOUT_S)
        self._registry = SlotRegistry(redis)
        self._drains = Drains(redis)
        self._hours = SlotHours(redis, slot, settings())
        self._stamped: SlotState | None = None

    def start(self) -> None:
        """Stamp now, and from the consumer's own timer."""
        self.stamp()
        self._consumer.timer.call_repeatedly(STAMP_EVERY_S, self.stamp)

    def take_jobs_or_not(self) -> None:
        """Begin or end to take jobs, if what is so is not as it should be."""
        if self._consumer.blueprint.state != RUN:
            return
        if self._may_take() and not self._takes():
            self.stamp()  # the slot may have been drained since the last one
        wanted = self._may_take()
        for queue in own_queues(self._slot):
            if self._consumer.task_consumer.consuming_from(queue) == wanted:
                continue
            if wanted:
                self._consumer.add_task_queue(queue)
            else:
                self._consumer.cancel_task_queue(queue)
        if self.state() not in (self._stamped, SlotState.SILENT):
            self.stamp()
        if self._hours.until and not wanted:  # in this order: it is not to come back here
            self._clear_the_slot()

    def _clear_the_slot(self) -> None:
        try:
            self._hours.clear_the_slot()
        except RedisError as error:
            logger.warning("not asked: %s", error, extra={"action": "redis_away"})

    def _may_take(self) -> bool:
        return self.fit and self._name.held and not self.drained and not self._hours.until

    def _takes(self) -> bool:
        return all(map(self._consumer.task_consumer.consuming_from, own_queues(self._slot)))

    def stamp(self) -> None:
        """Say what is so; nothing if it is not well: a stamp that is old is seen by everybody."""
        try:
            self._name.renew()
            self.drained = self._drains.holds(self._slot, host_name())
            self._hours.look()
            state = self.state()
            if state is not SlotState.SILENT:
                until = self._hours.until if state is SlotState.RESTING else ""
                self._registry.stamp(self._slot, state, until)
                self._stamped = state
        except RedisError as error:
            logger.warning("not stamped: %s", error, extra={"action": "redis_away"})
        except NameTaken as error:
            logger.error("this worker ends: %s", error, extra={"action": "name_taken"})
            os.kill(os.getpid(), signal.SIGTERM)

    def state(self) -> SlotState:
        """By Celery's own account, at this moment."""
        consumer = self._consumer
        if worker_state.should_stop is not None or consumer.blueprint.state != RUN:
            return SlotState.SILENT
        if consumer.pool.num_processes < 1 or self._pool_takes_nothing():
            return SlotState.SILENT
        if self.drained:
            return SlotState.DRAINED
        if self._hours.until:
            return SlotState.RESTING
        if not self.fit or not self._takes():
            return SlotState.PROVING
        fetches = self._fetches(consumer.task_consumer.channel)
        return SlotState.CONSUMING if fetches else SlotState.SILENT

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
