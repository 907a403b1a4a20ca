"""A job of two processes through bridge, queue and worker: paused, resumed, cancelled by force."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.stack import Stack
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

STEPS = 40
STRATEGIES = ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)]


def two(strategy: str) -> dict[str, Any]:
    return {"distributed": {"processes": 2, "strategy": strategy}, "logging_steps": 5}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def weights(stack: Stack, job_id: str) -> str:
    path = stack.home / "jobs" / job_id / "model" / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_paused_and_resumed_it_ends_with_the_same_weights(stack: Stack, strategy: str) -> None:
    whole, paused = f"whole-{strategy}", f"paused-{strategy}"
    stack.submit(whole, steps=STEPS, training=two(strategy))
    stack.wait(whole, "completed")
    stack.submit(paused, steps=STEPS, training=two(strategy))
    stack.wait_for_step(paused, 3)
    assert stack.bridge.pause(paused)["success"]
    job = stack.wait(paused, "paused")
    assert 0 < int(str(job["current_step"])) < STEPS
    wait_for("no training is left", lambda: not stack.training_processes())
    stack.bridge.resume(paused)
    stack.wait(paused, "completed")
    assert weights(stack, paused) == weights(stack, whole)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_forced_cancel_leaves_no_rank(stack: Stack, strategy: str) -> None:
    job = f"forced-{strategy}"
    stack.submit(job, steps=100_000, training=two(strategy))
    stack.wait_for_step(job, 3)
    stack.bridge.cancel(job, force=True)
    stack.wait(job, "cancelled")
    assert not stack.training_processes()
