"""Consuming: whether a slot's worker takes jobs follows what is so now, not at the last stamp."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery.bootsteps import RUN

from trainyard.scheduling.drains import Drains
from trainyard.scheduling.slots import SlotState
from worker import consuming
from worker.consuming import Consuming, own_queues

SLOT = "box-0"


class Consumer:
    """Celery's consumer, as far as its queues go; ``ever``: every queue that it began to take."""

    def __init__(self) -> None:
        self.queues: set[str] = set()
        self.ever: set[str] = set()
        self.blueprint = SimpleNamespace(state=RUN)
        self.pool = SimpleNamespace(num_processes=1)
        self.task_consumer = SimpleNamespace(
            consuming_from=self.queues.__contains__,
            channel=SimpleNamespace(
                qos=SimpleNamespace(can_consume=lambda: True), _brpop_sent_at=time.monotonic()
            ),
        )

    def add_task_queue(self, queue: str) -> None:
        self.queues.add(queue)
        self.ever.add(queue)

    def cancel_task_queue(self, queue: str) -> None:
        self.queues.remove(queue)


def test_a_drain_that_is_newer_than_the_last_stamp_holds(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "settings", lambda: SimpleNamespace(redis_location=None))
    monkeypatch.setattr(consuming, "connect", lambda *_, **__: redis)
    monkeypatch.setattr(consuming, "host_name", lambda: "box")
    consumer, name = Consumer(), SimpleNamespace(held=True, renew=lambda: None)
    worker = Consuming(consumer, SLOT, name)  # type: ignore[arg-type]  # as far as it is asked
    worker.stamp()
    worker.fit = True
    Drains(redis).order(SLOT)
    worker.take_jobs_or_not()
    assert not consumer.ever
    assert worker.state() is SlotState.DRAINED
    Drains(redis).lift(SLOT)
    worker.stamp()
    worker.take_jobs_or_not()
    assert consumer.queues == set(own_queues(SLOT))
    assert worker.state() is SlotState.CONSUMING
