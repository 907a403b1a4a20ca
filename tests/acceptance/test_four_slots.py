"""Four slots on one machine, started by the launcher; requests through the Redis stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.support.stack import Stack, kill
from tests.support.waiting import wait_for
from trainyard.child_process import ChildProcess, python_module

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(slots=0) as running:
        yield running


@pytest.fixture(scope="module")
def launcher(stack: Stack) -> Iterator[psutil.Process]:
    child = ChildProcess(
        "launcher",
        python_module("worker.launcher"),
        env={**stack.environment, "SLOTS": "4", "PRELOAD": "0"},
        log_file=stack.home / "launcher.log",
    )
    child.start()
    try:
        wait_for("four slots live", lambda: stack.slots_alive() == 4)
        yield psutil.Process(child.pid)
    finally:
        child.stop(60)


def queue_of(stack: Stack) -> dict[str, Any]:
    return stack.bridge._call("GET", "/api/training/queue")


def test_four_jobs_run_and_the_fifth_waits(stack: Stack, launcher: psutil.Process) -> None:
    for number in range(5):
        stack.submit(f"job-{number}", steps=100_000)
    wait_for("four run", lambda: len(queue_of(stack)["running"]) == 4)
    queue = queue_of(stack)
    assert {row["slot"] for row in queue["running"]} == {f"test-{n}" for n in range(4)}
    assert [row["job_id"] for row in queue["queued"]] == ["job-4"]


def test_a_cancel_through_the_stream_reaches_every_job(
    stack: Stack, launcher: psutil.Process
) -> None:
    for number in range(5):
        request = {"action": "cancel", "job_id": f"job-{number}", "force": True}
        stack.redis.xadd("training:requests", {"request": json.dumps(request)})
    for number in range(5):
        stack.wait(f"job-{number}", "cancelled")
    wait_for("every request is answered", lambda: stack.redis.xlen("training:replies") == 5)


def test_the_launcher_starts_a_killed_worker_again(stack: Stack, launcher: psutil.Process) -> None:
    before = {worker.pid for worker in launcher.children()}
    assert len(before) == 4
    victim = min(before)
    kill(victim)

    def replaced() -> bool:
        now = {worker.pid for worker in launcher.children()}
        return len(now) == 4 and victim not in now

    wait_for("another worker runs", replaced)
    wait_for("four slots live again", lambda: stack.slots_alive() == 4)
