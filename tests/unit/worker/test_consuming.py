"""Consuming: whether a slot's worker takes jobs follows what is so now, not at the last stamp."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery.bootsteps import RUN

from tests.support.store_calls import admit, job_store
from trainyard.scheduling.drains import Drains
from trainyard.scheduling.slots import SlotRegistry, SlotState
from trainyard.settings import read_settings
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


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def make(redis: Any, consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A worker whose slot is fit."""

    def made(**settings: Any) -> Consuming:
        current = read_settings(redis_url="redis://127.0.0.1", **settings)
        monkeypatch.setattr(consuming, "settings", lambda: current)
        monkeypatch.setattr(consuming, "connect", lambda *_, **__: redis)
        monkeypatch.setattr(consuming, "host_name", lambda: "box")
        name = SimpleNamespace(held=True, renew=lambda: None)
        worker = Consuming(consumer, SLOT, name)  # type: ignore[arg-type]  # as far as it is asked
        worker.stamp()
        worker.fit = True
        return worker

    return made


def test_a_drain_that_is_newer_than_the_last_stamp_holds(
    redis: Any, make: Callable[..., Any], consumer: Consumer
) -> None:
    worker = make()
    Drains(redis).order(SLOT)
    worker.take_jobs_or_not()
    assert not consumer.ever
    assert worker.state() is SlotState.DRAINED
    Drains(redis).lift(SLOT)
    worker.stamp()
    worker.take_jobs_or_not()
    assert consumer.queues == set(own_queues(SLOT))
    assert worker.state() is SlotState.CONSUMING


def hours_around(redis: Any, first_h: int, end_h: int) -> str:
    """From so many hours after now until so many; by Redis's clock."""
    now = datetime.fromtimestamp(redis.time()[0], UTC)
    first, end = now + timedelta(hours=first_h), now + timedelta(hours=end_h)
    return f"{first:%H:%M}-{end:%H:%M} UTC"


def test_outside_of_its_hours_it_takes_nothing_and_what_runs_makes_way(
    redis: Any, make: Callable[..., Any], consumer: Consumer
) -> None:
    store, registry = job_store(redis), SlotRegistry(redis)
    for job_id, slot in (("here", SLOT), ("there", "box-1"), ("paused", SLOT)):
        admit(store, job_id)
        assert store.claim(job_id, 1, slot=slot, worker="w")
    store.pause("paused")
    worker = make(active_hours=hours_around(redis, 2, 4))
    worker.take_jobs_or_not()
    assert not consumer.ever
    assert worker.state() is SlotState.RESTING
    asked = {job.job_id for job in store.jobs() if job.is_to_make_way}
    assert asked == {"here"}, "a person's pause stands, and the other slot is another one's"
    assert "the hours of box-0 are over until" in store.renew("here", 1).make_way
    registry.beat(SLOT, {"home": "h", "hours": "so"})
    (slot,) = registry.present()
    assert slot.idle_reason is not None and "its hours (ACTIVE_HOURS) are so" in slot.idle_reason
    assert (registry.alive(), registry.expected()) == ([], set())

    worker = make(active_hours=hours_around(redis, -1, 2))
    worker.take_jobs_or_not()
    assert consumer.queues == set(own_queues(SLOT))
    assert worker.state() is SlotState.CONSUMING
    Drains(redis).order(SLOT)
    worker.stamp()
    assert worker.state() is SlotState.DRAINED, "a person's word holds within the hours too"


def test_the_hours_are_of_now_and_not_of_the_last_stamp(
    redis: Any, make: Callable[..., Any], consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = datetime(2026, 3, 28, 21, 59, tzinfo=UTC).timestamp()
    monkeypatch.setattr(type(redis), "time", lambda _: (int(now_s), 0))
    worker = make(active_hours="08:00-22:00 UTC")
    worker.take_jobs_or_not()
    assert consumer.queues == set(own_queues(SLOT))
    now_s += 60
    worker.stamp()
    worker.take_jobs_or_not()
    assert not consumer.queues
    assert worker.state() is SlotState.RESTING
    now_s -= 60  # the clock was set back
    worker.stamp()
    worker.take_jobs_or_not()
    assert consumer.queues == set(own_queues(SLOT))
