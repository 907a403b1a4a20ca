"""Cancelling: a forced cancel of a kernel that never ends.

Without a GPU it is a native loop; both are deaf to SIGTERM, with children in sessions of their own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from benchmarks.gpu_proof.row import Row
from benchmarks.gpu_proof.scene import Scene
from benchmarks.gpu_proof.steps.parking import SECOND
from benchmarks.gpu_proof.steps.peak_memory import used_gb
from benchmarks.gpu_proof.steps.supervised import services, submit
from benchmarks.lifecycle import POLL_S, wait_dead
from tests.support.waiting import WAIT_S, wait_for
from trainyard.contract.units import GB
from worker.machine.gpu import MEMORY_TOLERANCE_BYTES

_JOB = "hung-in-a-kernel"
_STEPS_BEFORE = 3
_PROCESSES = 6
"""Keeper, training and its four children."""


def run(scene: Scene) -> Iterator[Row]:
    """From the request to the end of its processes, to its memory and to the job's end."""
    with services(scene) as on:
        before = used_gb()
        submit(on, _JOB, 1_000_000)
        wait_for("it hangs", lambda: len(on.steps(_JOB)) >= _STEPS_BEFORE)
        wait_for("children", lambda: len(on.stack.training_processes()) >= _PROCESSES)
        held = used_gb() - before
        processes = [os.pidfd_open(p.pid) for p in on.stack.training_processes()]
        asked = time.monotonic()
        on.stack.bridge.cancel(_JOB, force=True)
        yield Row("request to last process gone", wait_dead(processes) - asked, "s")
        back = _wait_back(before) - asked
        yield Row("request to memory back", back, "s", aim=SECOND, note=f"{held:.2f} GB")
        ended = on.wait_status(_JOB, "cancelled") - asked
        yield Row("request to the job's end, slot free", ended, "s")


def _wait_back(before: float) -> float:
    deadline = time.monotonic() + WAIT_S
    while used_gb() - before > MEMORY_TOLERANCE_BYTES / GB:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{used_gb() - before:.2f} GB did not come back in {WAIT_S:g} s")
        time.sleep(POLL_S)
    return time.monotonic()
