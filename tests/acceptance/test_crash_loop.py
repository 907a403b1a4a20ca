"""Soak of a slot whose slot process dies every few seconds, beside a good one: no job is hurt.

The deaths come from a thread, by SIGKILL, as a memory limit sends it: seconds apart, so that one
strikes while the slot imports, proves itself, or runs a job.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.stack import Stack
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = float(os.environ.get("SOAK_SECONDS", "3600"))
BAD = 1
AHEAD = 3
"""Jobs that wait or run at a time."""


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 600)
def test_a_slot_in_a_crash_loop_loses_and_fails_no_job() -> None:
    with Stack(slots=2) as stack:
        jobs: list[str] = []
        worst = 0
        with crash_loop(stack) as deaths:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                done = sum(stack.bridge.status(job)["status"] == "completed" for job in jobs)
                if len(jobs) - done < AHEAD:
                    job_id = f"soak-{len(jobs)}"
                    stack.submit(job_id, steps=random.Random(job_id).randint(10, 400))
                    jobs.append(job_id)
                health = stack.bridge._call("GET", "/health")
                worst = max(worst, len(health["slots_out_of_service"]))
                time.sleep(0.5)
        ended = [stack.wait(job, "completed", timeout_s=300) for job in jobs]
        slots = {str(job["slot"]) for job in ended}
        attempts = sum(job["attempt"] for job in ended)
        print(
            f"\n{SECONDS:.0f} s, {len(deaths)} deaths of the slot process, {len(jobs)} jobs in "
            f"{attempts} attempts, all completed, on {', '.join(sorted(slots))}"
        )
        assert [job["restarts"] for job in ended] == [0] * len(jobs)
        assert worst == 1, "the bad slot was out of service, and nobody else"
        wait_for("it comes back by itself", lambda: stack.slots_alive() == 2, 900)


@contextmanager
def crash_loop(stack: Stack) -> Iterator[list[float]]:
    """Kill the bad slot's slot process again and again; when each was killed."""
    over, deaths = Event(), []

    def strike() -> None:
        chance = random.Random(7)
        while not over.wait(chance.uniform(1, 8)):
            for child in psutil.Process(stack.workers[BAD].pid).children():
                with suppress(psutil.Error):
                    if "worker.slot_process" in " ".join(child.cmdline()):
                        child.send_signal(signal.SIGKILL)
                        deaths.append(time.monotonic())

    thread = Thread(target=strike)
    thread.start()
    try:
        yield deaths
    finally:
        over.set()
        thread.join()
