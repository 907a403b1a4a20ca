"""Slots of the simulated fleet: each does at Redis what a worker and its courier do.

    python -m benchmarks.fleet_slots REDIS_URL BACKEND_URL FIRST COUNT

Prints a JSON line when its jobs run, and after the lines ``measure`` and ``stop`` on its input how
long each renewal of a lease took in between, and how late each piece of work began.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from redis import Redis

from backend_bridge.delivery.forwarder import Forwarder
from backend_bridge.intake.admission import Admission
from backend_bridge.intake.job_control import JobControl
from backend_bridge.intake.stream_consumer import BLOCK_MS, LISTEN_MS, StreamConsumer
from backend_bridge.reaper import EVERY_S as REAP_EVERY_S
from backend_bridge.reaper import Reaper
from tests.support.celery_app import bridge_celery
from tests.support.running_job import RunningJob
from trainyard.scheduling.couriers import CourierRegister
from trainyard.scheduling.dispatch import Dispatcher, open_dispatcher
from trainyard.scheduling.drains import Drains
from trainyard.scheduling.slot_leases import Holder, SlotLeases
from trainyard.scheduling.slots import BEAT_EVERY_S, STAMP_EVERY_S, SlotRegistry, SlotState
from trainyard.store.connection import connect
from worker.supervisor.lease import RENEW_EVERY_S

EVENTS_EVERY_S = 1.0
ENDS_PER_MINUTE = 0.05
LOG_LINES = 5


@dataclass
class Figures:
    """What is told at the end, in ms."""

    renew_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)


class SimulatedSlot:
    """One slot, always with a job. Its connections are its own, as those of its processes are."""

    def __init__(self, number: int, url: str, dispatcher: Dispatcher, admission: Admission) -> None:
        self.name = f"host-{number}"
        self.redis: Redis = connect(url)
        self.registry = SlotRegistry(self.redis)
        self.drains, self.leases = Drains(self.redis), SlotLeases(self.redis)
        self.me = Holder(self.name, self.name, os.getpid(), "birth", self.name)
        self.couriers = CourierRegister(self.redis)
        self.reaper = Reaper(dispatcher, home=self.name)
        control = JobControl(dispatcher, None)  # type: ignore[arg-type]  # no request asks for files
        self.consumer = StreamConsumer(self.redis, admission, control, 1.0)
        self.consumer.name = self.name
        self.consumer._ensure_group()
        self.jobs = (f"fleet-{number}" + (f"-{n}" if n else "") for n in itertools.count())
        self.step = 0
        self.beat()
        self.begin()

    def begin(self) -> None:
        """Take a job that runs from now on."""
        self.job = RunningJob(self.redis, next(self.jobs), slot=self.name)

    def renew(self) -> None:
        assert self.job.store.renew(self.job.job_id, self.job.attempt).held

    def tell(self) -> None:
        """A metric and log lines; now and then the job ends, and another begins."""
        self.step += 1
        self.job.metric(self.step, train_loss=1.0)
        now = f"{time.monotonic():.6f}"
        self.job.log(*[f"a line of step {self.step}, sent at {now}"] * LOG_LINES)
        if random.random() < ENDS_PER_MINUTE * EVENTS_EVERY_S / 60:
            self.job.complete()
            self.begin()

    def stamp(self) -> None:
        """As the worker's main process does."""
        self.leases.take(self.name, self.me)
        self.drains.holds(self.name, self.name)
        self.registry.stamp(self.name, SlotState.CONSUMING)

    def beat(self) -> None:
        """As its courier does."""
        self.registry.beat(self.name, {"gpus": [], "home": self.name})

    def reap(self) -> None:
        """One round of its courier's reaper."""
        self.reaper.reap()
        if self.reaper.duty.is_mine():
            self.reaper.send_again()
        self.couriers.beat()

    def take_requests(self) -> None:
        """One round of its courier's consumer, which would wait for requests, but not here."""
        self.consumer.consume(block_ms=1, looks=self.consumer.duty.is_mine())

    def work(self) -> list[tuple[float, Callable[[], None]]]:
        """Everything that it does, each with its period in seconds."""
        return [
            (RENEW_EVERY_S, self.renew),
            (EVENTS_EVERY_S, self.tell),
            (STAMP_EVERY_S, self.stamp),
            (BEAT_EVERY_S, self.beat),
            (REAP_EVERY_S, self.reap),
            ((BLOCK_MS if self.consumer.duty.is_mine() else LISTEN_MS) / 1000, self.take_requests),
        ]


def work_on(slots: list[SimulatedSlot], figures: Figures, stop: threading.Event) -> None:
    """Do everybody's work when it is due, spread evenly."""
    turn = itertools.count()
    plan = [
        (time.monotonic() + random.random() * period, next(turn), period, act)
        for slot in slots
        for period, act in slot.work()
    ]
    heapq.heapify(plan)
    while not stop.is_set():
        due, _, period, act = plan[0]
        if (wait_s := due - time.monotonic()) > 0:
            time.sleep(wait_s)
        began = time.monotonic()
        act()
        figures.late_ms.append(1000 * (began - due))
        if act.__name__ == "renew":
            figures.renew_ms.append(1000 * (time.monotonic() - began))
        heapq.heapreplace(plan, (max(due, began - period) + period, next(turn), period, act))


def main(redis_url: str, backend_url: str, first: int, count: int) -> None:
    figures, stop = Figures(), threading.Event()
    with ExitStack() as stack:
        celery = stack.enter_context(bridge_celery(redis_url))
        redis = stack.enter_context(connect(redis_url))
        job = RunningJob(redis, f"fleet-warm-up-{first}")
        job.complete()
        dispatcher = open_dispatcher(job.store, celery, redis)
        admission = Admission(job.store, dispatcher.queue, slots=lambda: 1, max_queued=None)
        slots = [
            SimulatedSlot(number, redis_url, dispatcher, admission)
            for number in range(first, first + count)
        ]
        forwarders = [
            Forwarder(slot.redis, backend_url, slot=slot.name, senders=1) for slot in slots
        ]
        threads = [threading.Thread(target=one.run, args=(stop,)) for one in forwarders]
        threads.append(threading.Thread(target=work_on, args=(slots, figures, stop)))
        for thread in threads:
            thread.start()
        print(json.dumps({"runs": count}), flush=True)
        while sys.stdin.readline().strip() == "measure":
            figures.renew_ms.clear()
            figures.late_ms.clear()
        told = {"renew_ms": list(figures.renew_ms), "late_ms": list(figures.late_ms)}
        assert all(thread.is_alive() for thread in threads), "a simulated slot has died"
        stop.set()
        for thread in threads:
            thread.join()
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
