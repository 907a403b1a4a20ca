"""Proving of a slot: probes and restarts of the slot process, from timers of the worker's loop."""

from __future__ import annotations

import itertools
import logging
import time
from typing import Any

from celery.worker import state as worker_state
from redis.exceptions import RedisError

from trainyard.child_process import ChildProcess
from trainyard.scheduling.slots import SlotRegistry
from trainyard.settings import settings
from trainyard.store.connection import connect
from worker.consuming import Consuming
from worker.machine.gpu import GpuUse, wait_released
from worker.proof.fitness import Fitness, SlotTrial
from worker.proof.probe import Probe, ProbeEnd
from worker.slot import LOOP_TIMEOUT_S, slot

ROUND_EVERY_S = 1.0
PROBE_LOOK_EVERY_S = 0.02
"""A job may wait for it."""

logger = logging.getLogger(__name__)


class _Refused:
    """A probe that need not be made: the trouble is known."""

    def __init__(self, trouble: str) -> None:
        self._trouble = trouble

    def look(self) -> ProbeEnd:
        return ProbeEnd(self._trouble)

    def slot_process_died(self) -> None:
        pass

    def close(self) -> None:
        pass


class Proving:
    """Lets ``consuming`` take jobs while the slot is fit. ``timer`` is that of Celery's loop."""

    def __init__(self, timer: Any, slot_process: ChildProcess, consuming: Consuming) -> None:
        self._timer = timer
        self._slot_process = slot_process
        self._consuming = consuming
        self._numbers = itertools.count(1)
        self._home = settings().trainyard_home
        redis = connect(settings().redis_location, retries=0, timeout_s=LOOP_TIMEOUT_S)
        self._registry = SlotRegistry(redis)
        self._fitness = Fitness(self._probe, slot().doubt, self._say)
        self._slot_process_seen: int | None = slot_process.pid

    def start(self) -> None:
        self._timer.call_repeatedly(ROUND_EVERY_S, self.round)
        self.round()

    def round(self) -> None:
        """Look after the slot process, the fitness, and what follows from it for the queues."""
        now = time.monotonic()
        if self._slot_process.pid is None and self._slot_process_seen is not None:
            self._slot_process_seen = None
            self._fitness.slot_process_died(busy=bool(worker_state.active_requests))
        was_probing = self._fitness.is_probing
        self._fitness.round(now)  # first: what it has lost puts off the next start
        if self._fitness.may_start_slot_process(now) and self._slot_process.ensure_running():
            self._slot_process_seen = self._slot_process.pid
        self._consuming.fit = self._fitness.fit
        self._consuming.take_jobs_or_not()
        if self._fitness.is_probing and not was_probing:
            self._timer.call_after(PROBE_LOOK_EVERY_S, self._look_often)

    def _look_often(self) -> None:
        self.round()
        if self._fitness.is_probing:
            self._timer.call_after(PROBE_LOOK_EVERY_S, self._look_often)

    def _probe(self) -> SlotTrial:
        doubt = slot().doubt
        if (before := doubt.memory_before) is not None:
            left = wait_released(GpuUse(frozenset(), before), timeout_s=0, sleep=lambda _: None)
            if left is not None:
                return _Refused(left)
            doubt.memory_before = None
        number = next(self._numbers)
        return Probe(slot(), number, str(self._home), preload=settings().preload)

    def _say(self, trouble: str | None) -> bool:
        try:
            if trouble is None:
                self._registry.put_in(slot().name)
            else:
                self._registry.take_out(slot().name, trouble)
        except RedisError as error:
            logger.warning("not said: %s", error, extra={"action": "redis_away"})
            return False
        return True
