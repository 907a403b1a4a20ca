"""Freezes of everything at once, as a paused VM or ``docker compose pause`` makes them."""

from __future__ import annotations

import time

import psutil
import pytest

from tests.support.stack import Stack
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LEASE_S = 4


def freeze_all(stack: Stack, seconds: float) -> None:
    """SIGSTOP every process of the stack, Redis too, and let all go on after ``seconds``."""
    frozen = [*stack.processes(), psutil.Process(stack.redis_server.pid)]
    try:
        for process in frozen:
            process.suspend()
        time.sleep(seconds)
    finally:
        for process in frozen:
            process.resume()
    wait_for("the bridge answers", stack.bridge_answers)


def test_ten_freezes_of_twice_the_lease_cost_no_restart() -> None:
    with Stack(LEASE_SECONDS=str(LEASE_S), HANG_SECONDS=str(LEASE_S)) as stack:
        stack.submit("frozen", steps=1_000_000, training={"eval_strategy": "no"})
        stack.wait_for_step("frozen", 1)
        for _ in range(10):
            step = stack.bridge.status("frozen")["current_step"]
            freeze_all(stack, 2 * LEASE_S)
            stack.wait_for_step("frozen", step + 2)
        job = stack.wait("frozen", "running")
        assert (job["attempt"], job["restarts"]) == (1, 0)
        stack.bridge.cancel("frozen", force=True)
        stack.wait("frozen", "cancelled")
        stack.wait_delivered("frozen")
        assert stack.backend.statuses("frozen") == ["running", "cancelled"]
