"""Time limit of a parked training: so many seconds, and only while there is memory."""

from __future__ import annotations

import time

from worker.machine import memory

_MEMORY_CHECK_S = 1.0


class ParkedTime:
    """How long a training may stay parked: at most ``seconds``, and while there is memory."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._next_check = time.monotonic()

    def reason_to_end(self) -> str | None:
        """Why the time is over, in words for a log; None if it is not."""
        now = time.monotonic()
        if now >= self._ends:
            return f"parked for {self._seconds:g} s"
        if now >= self._next_check:
            self._next_check = now + _MEMORY_CHECK_S
            return memory.shortage()
        return None

    def left_s(self) -> float:
        """Seconds until :meth:`reason_to_end` is to be asked again."""
        return max(0.0, min(self._ends, self._next_check) - time.monotonic())
