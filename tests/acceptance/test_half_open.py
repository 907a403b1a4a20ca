"""Connections to Redis that are black holes, as a NAT or a failover leaves them: no end, no answer.

Everybody who waits on one gives up within half a minute, and goes on over a new one.
"""

from __future__ import annotations

import os
import subprocess
import time

import psutil
import pytest

from tests.support.flower import celery_command
from tests.support.stack import Stack
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BOUND_S = 30.0


def test_black_holes_cost_half_a_minute() -> None:
    with Stack(separate_networks=True, LEASE_SECONDS="30") as stack:
        stack.submit("long", steps=1_000_000, training={"logging_steps": 20})
        stack.wait_for_step("long", 2)
        swallowed_at = swallow(stack)
        stack.submit("next", steps=2)
        assert stack.bridge.cancel("long", force=False)["success"]
        job = stack.wait("long", "cancelled", timeout_s=left_of(swallowed_at))
        assert (job["attempt"], job["restarts"]) == (1, 0), "it went on meanwhile"
        wait_for(
            "the worker takes the next job",
            lambda: stack.bridge.status("next")["status"] != "queued",
            left_of(swallowed_at),
        )
        stack.wait("next", "completed")
        assert "pong" in inspect_ping(stack)

        stack.submit("last", steps=1_000_000, training={"logging_steps": 20})
        stack.wait_for_step("last", 2)
        swallowed_at = swallow(stack)
        (worker,) = stack.workers
        worker.terminate()
        stack.bridge_process.terminate()
        wait_for(
            "worker and bridge stop",
            lambda: worker.pid is stack.bridge_process.pid is None,
            left_of(swallowed_at),
        )
        last = stack.store.get("last")
        assert last is not None
        assert (last.status, last.restarts) == ("queued", 0), "it was put back"


def test_a_pool_child_that_came_later_shares_no_connection_with_the_main_process() -> None:
    """Else the main process reads another connection in place of one that was given up."""
    with Stack(separate_networks=True, LEASE_SECONDS="3", MAX_RESTARTS="10") as stack:
        stack.submit("long", steps=1_000_000, training={"logging_steps": 20})
        stack.wait_for_step("long", 2)
        (worker,) = stack.workers
        assert worker.pid is not None
        main = psutil.Process(worker.pid)
        (first,) = pool_children(main)
        first.kill()
        wait_for("another pool child", lambda: set(pool_children(main)) - {first})
        (later,) = set(pool_children(main)) - {first}
        wait_for("it shares no connection", lambda: not sockets(later) & sockets(main))
        swallowed_at = swallow(stack)
        wait_for(
            "it hears over a new connection",
            lambda: "pong" in inspect_ping(stack),
            2 * left_of(swallowed_at),
        )
        time.sleep(3 * 5.0)  # of celeryconfig's HEALTH_CHECK_S: every silent one is given up
        wait_for("the slot takes jobs", lambda: stack.slots_alive() == 1)


def pool_children(main: psutil.Process) -> list[psutil.Process]:
    living = (c for c in main.children() if c.status() != psutil.STATUS_ZOMBIE)
    return [child for child in living if child.cmdline() == main.cmdline()]


def sockets(process: psutil.Process) -> set[tuple[int, int]]:
    """The two ports of each TCP connection that it holds."""
    return {(c.laddr.port, c.raddr.port) for c in process.net_connections("tcp") if c.raddr}


def swallow(stack: Stack) -> float:
    for network in stack.networks:
        network.swallow()
    return time.monotonic()


def left_of(began_at: float) -> float:
    return BOUND_S - (time.monotonic() - began_at)


def inspect_ping(stack: Stack) -> str:
    return subprocess.run(
        celery_command("inspect", "ping"),
        env={**os.environ, **stack.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
