"""A job of very many steps and log lines: supervisor, courier and bridge hold a bounded part of it.

Each part runs here on the job's own events, in a row, over a real Redis, whose memory is its own.
"""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis

from backend_bridge.delivery.backend_client import Answer, BackendClient, Delivered
from backend_bridge.delivery.outbox import Outbox
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.sender import Turn
from tests.support.store_calls import JOB, admit, claim, job_store
from trainyard.contract.events import Checkpoint, Metric
from trainyard.contract.units import MB
from trainyard.redaction import Redactor
from trainyard.store.event_log import EventLog
from worker.supervisor.event_buffer import EventBuffer
from worker.supervisor.job_folder import Record
from worker.supervisor.log_handler import BatchingLogHandler

STEPS, MANY_STEPS = 6_000, 1_000_000
PORTION = 1_000
GROWTH_MAX = 1 * MB


class Counting:
    """A backend that takes everything, and only counts."""

    timeout_s = 1.0

    def __init__(self) -> None:
        self.steps = self.lines = 0

    def post(self, job_id: str, token: Any, message: Any, **_: Any) -> Answer:
        body = message.body
        self.lines += len(body.get("logs", ()))
        self.steps += len(body.get("metrics", ())) or ("step" in body)
        return Delivered()


class LongJob:
    """A job's supervisor, a sender of its events, and a reader of them."""

    def __init__(self, redis: Redis, folder: Path) -> None:
        store = job_store(redis)
        admit(store)
        assert claim(store)
        job = store.get(JOB)
        assert job is not None
        self.metrics = Record(folder / "metrics.jsonl")
        self.log_file = Record(folder / "train.log")
        self.buffer = EventBuffer(store, job, self.metrics)
        self.log = BatchingLogHandler(self.buffer.log_lines, self.log_file, Redactor())
        self.events, self.outbox = EventLog(redis), Outbox(redis, lock_s=60)
        self.backend, self.policy = Counting(), DeliveryPolicy()
        self.read = 0
        self._cursor = ""

    def train(self, first: int, steps: int) -> None:
        """So many steps, each with a point and a line; a checkpoint at their end."""
        for step in range(first, first + steps):
            self.buffer.take(Metric(step=step, epoch=step / 100, train_loss=1.0))
            self.log.lines([f"step {step}: loss 1.0"])
        self.log.flush()
        self.buffer.take(Checkpoint(path="checkpoints/last", step=first, epoch=1.0, size_bytes=1))
        assert self.buffer.flush()

    def deliver(self) -> None:
        """A sender's turns until nothing waits."""
        while (hold := self.outbox.claim(JOB)) is not None:
            client = cast(BackendClient, self.backend)
            Turn(hold, self.outbox, client, self.policy, threading.Event(), lambda: False).run()

    def look(self) -> None:
        """What people ask of a running job."""
        points, end = self.events.metrics(JOB, PORTION, self._cursor)
        self.read += len(points)
        self._cursor = end or self._cursor
        assert len(self.events.logs(JOB, limit=100, offset=-100).lines) == 100

    def close(self) -> None:
        """Close its files."""
        self.metrics.close()
        self.log_file.close()


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    """What this process holds now."""
    tracemalloc.start()

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    yield held
    tracemalloc.stop()


def peak_of(act: Callable[[], Any]) -> int:
    """The most that ``act`` held beyond what was there."""
    gc.collect()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    act()
    return tracemalloc.get_traced_memory()[1] - before


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(STEPS, id="short"),
        pytest.param(
            MANY_STEPS, id="million", marks=[pytest.mark.long, pytest.mark.timeout(4 * 3600)]
        ),
    ],
)
def test_what_a_job_takes_of_memory_does_not_grow_with_its_steps(
    steps: int, real_redis: Redis, tmp_path: Path, traced: Callable[[], int]
) -> None:
    with closing(LongJob(real_redis, tmp_path)) as job:

        def portion(first: int) -> list[int]:
            return [
                peak_of(lambda: job.train(first, PORTION)),
                peak_of(job.deliver),
                peak_of(job.look),
            ]

        for first in range(1, steps // 2, PORTION):
            early = portion(first)
        held = traced()
        for first in range(steps // 2 + 1, steps, PORTION):
            late = portion(first)
        assert traced() - held < GROWTH_MAX
        for before, after in zip(early, late, strict=True):
            assert after - before < GROWTH_MAX
        assert len(job.events.checkpoints(JOB)) == 1
        assert peak_of(lambda: job.events.checkpoints(JOB)) < GROWTH_MAX
        assert (job.backend.steps, job.backend.lines, job.read) == (steps, steps, steps)
