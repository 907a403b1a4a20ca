"""Processes of a run: found by a variable of their environment, watched and ended by pid."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

RUN_VARIABLE = "PEERS_RUN"
"""In everything that belongs to one start of one system."""
JOB_VARIABLE = "PEERS_JOB"
"""In whatever a job has started."""


def marked(variable: str, value: str) -> list[int]:
    """Every living process, but this one, that has the variable in its environment."""
    wanted = f"{variable}={value}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


class Watched:
    """Processes as they were at one moment; a pid that comes again is not one of them."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pidfds: list[int] = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self._pidfds.append(os.pidfd_open(pid))

    def alive(self) -> int:
        """How many live still; a zombie does not."""
        return sum(not select.select([pidfd], [], [], 0)[0] for pidfd in self._pidfds)

    def wait_gone(self, seconds: float) -> float | None:
        """When the last of them had died; None: some live after ``seconds``."""
        deadline = time.monotonic() + seconds
        for pidfd in self._pidfds:
            if not select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
        return time.monotonic()

    def end(self) -> None:
        """SIGKILL those that live, and forget them all."""
        for pidfd in self._pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        self._pidfds.clear()


def end_run(run: str) -> None:
    """End every process of a start, also those that are born meanwhile."""
    deadline = time.monotonic() + 30
    while pids := marked(RUN_VARIABLE, run):
        assert time.monotonic() < deadline, f"processes {pids} do not end"
        watched = Watched(pids)
        watched.end()
        time.sleep(0.05)
