"""Alive means working: a worker that takes no jobs is seen by everybody within half a minute."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.support.flower import celery_command
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from trainyard.child_process import ChildProcess, python_module

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SEEN_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A yard whose one worker is kept by the launcher."""
    with Stack(slots=0, SLOTS="1", STOP_TIMEOUT_SECONDS="1", PRELOAD="0") as running:
        launcher = ChildProcess(
            "launcher",
            python_module("worker.launcher"),
            env=running.environment,
            log_file=running.home / "launcher.log",
        )
        launcher.start()
        try:
            wait_for("the slot takes jobs", lambda: running.slots_alive() == 1)
            yield running
        finally:
            launcher.stop(60)


def control(stack: Stack, *arguments: str) -> None:
    subprocess.run(
        celery_command("control", *arguments),
        env={**os.environ, **stack.environment},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )


def idle_reason(stack: Stack) -> str:
    """What /health says of the slot; "" if it takes jobs."""
    return str(stack.bridge._call("GET", "/health")["slots_out_of_service"].get("test-0", ""))


def seen(what: str, condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    wait_for(what, condition)
    assert time.monotonic() - began < SEEN_WITHIN_S


def health_check(stack: Stack) -> int:
    return subprocess.run(
        [sys.executable, "-m", "worker.health"],
        env={**os.environ, **stack.environment},
        check=False,
        stdout=subprocess.DEVNULL,
        timeout=60,
    ).returncode


def main_process(stack: Stack) -> psutil.Process:
    """The worker's main process: the parent of its slot process."""
    (slot_process,) = (
        p for p in stack.processes() if "worker.slot_process" in " ".join(p.cmdline())
    )
    return psutil.Process(slot_process.ppid())


def test_a_drained_slot_says_so_and_is_left_alone(stack: Stack) -> None:
    process = main_process(stack)
    control(stack, "cancel_consumer", "gpu")
    seen("it is drained", lambda: "told to take no more" in idle_reason(stack))
    assert stack.slots_alive() == 0
    assert health_check(stack) == 0
    control(stack, "add_consumer", "gpu")
    seen("it takes jobs again", lambda: not idle_reason(stack))
    assert process.is_running()


def test_a_worker_that_hangs_is_seen_and_restarted_though_its_courier_beats(stack: Stack) -> None:
    process = main_process(stack)
    process.send_signal(signal.SIGSTOP)
    try:
        seen("it is silent", lambda: "has not taken jobs for" in idle_reason(stack))
        assert health_check(stack) == 1
        wait_for("its launcher ends it", lambda: not process.is_running(), 120)
    finally:
        if process.is_running():
            process.send_signal(signal.SIGCONT)
    wait_for("another takes jobs", lambda: stack.slots_alive() == 1 and not idle_reason(stack))
    stack.submit("next", steps=2)
    stack.wait("next", "completed")


def test_a_worker_that_cannot_start_says_why_and_is_tried_ever_later(stack: Stack) -> None:
    stack.redis.execute_command(
        "ACL", "SETUSER", "poor", "on", ">pw", "~*", "+@all", "resetchannels"
    )
    environment = {
        **os.environ,
        **stack.environment,
        "REDIS_URL": stack.redis_server.url.replace(":stack-password@", "poor:pw@"),
    }
    done = subprocess.run(
        celery_command("worker", "-Q", "gpu", "-c", "1"),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert (
        "worker: the user poor of this Redis lacks rights: &*: ACL SETUSER poor &*" in done.stderr
    )
