"""Making way on real processes: short jobs slip in, hours begin and end, and no bit changes."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.faked_clock import LIBRARIES, FakedClock
from tests.support.stack import Stack
from trainyard.store.job import Job

WARM = "(parked before, goes on)"
STEPS = 400
HOUR_S = 3600
_names = (f"short-{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> FakedClock:
    if not LIBRARIES:
        pytest.skip("libfaketime is not installed")
    return FakedClock(tmp_path_factory.mktemp("clock") / "offset")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(SLIP_INS_PER_HOUR="1000") as running:
        yield running


def start(stack: Stack, job_id: str, **fields: Any) -> None:
    """A long job, of which two of the same make the same weights."""
    training = {
        "logging_steps": 50,
        "save_steps": 100,
        "eval_strategy": "no",
        "lr_scheduler_type": "cosine",
    }
    data = {"train_split": 1.0, "eval_split": 0.0}
    stack.submit(job_id, steps=STEPS, training=training, data=data, **fields)


def weights(stack: Stack, job_id: str) -> str:
    path = stack.home / "jobs" / job_id / "model" / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def reference(stack: Stack) -> str:
    """Weights of the job that nobody slipped into."""
    start(stack, "reference")
    stack.wait("reference", "completed")
    return weights(stack, "reference")


def stored(stack: Stack, job_id: str) -> Job:
    job = stack.store.get(job_id)
    assert job is not None
    return job


def test_short_jobs_slip_in(stack: Stack, reference: str) -> None:
    start(stack, "long")
    for number, step in enumerate((20, 120, 220), start=1):
        stack.wait_for_step("long", step)
        short = next(_names)
        stack.submit(short, steps=2, slip_in=True, priority=0)
        stack.wait(short, "completed")
        assert stored(stack, "long").ways_made == number
    stack.wait("long", "completed")
    job = stored(stack, "long")
    assert (job.attempt, job.restarts, job.put_backs, job.pauses) == (4, 0, 0, 0)
    assert stack.log("long").count(WARM) == 3
    assert weights(stack, "long") == reference
    stack.wait_delivered("long")
    assert stack.backend.statuses("long") == [*["running"] * 4, "completed"]
