"""Hang watch: sees a training that makes no step any more, or never comes to its first."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable

from worker.machine.process_tree import cpu_time_s

STEPS_NEEDED = 5
MEDIANS = 50
FLOOR_S = 120.0
START_S = 1800.0
"""Limit while the steps are not known: the start may wait for a slow disk or network."""
STIRRING_CPU_S = 0.1
"""Processor time that shows a start to be at work; a thread that only waits uses less in hours."""


class HangWatch:
    """Told of every sign of progress; :meth:`is_hung` says when there has been none for too long.

    The limit is ``hang_s`` if set, else MEDIANS times the median step, at least FLOOR_S, once
    STEPS_NEEDED steps are known, and START_S until then. Before the first step (downloads, loading,
    tokenising) any sign of life counts: output, an event, processor time (``cpu_s(pid)``, in
    seconds). After it only events do: output may come from a training that hangs, and a busy loop
    is a hang. Times are ``time.monotonic()``.
    """

    def __init__(
        self, hang_s: float | None = None, cpu_s: Callable[[int], float] = cpu_time_s
    ) -> None:
        self._hang_s = hang_s
        self._cpu_s = cpu_s
        self._cpu_seen = 0.0
        self._seconds: deque[float] = deque(maxlen=200)
        self._last_step: int | None = None
        self._last_sign: float | None = None
        self._last_step_at = 0.0

    @property
    def is_starting(self) -> bool:
        """Whether no step is known yet."""
        return self._last_step is None

    @property
    def limit_s(self) -> float:
        """Seconds without a sign that count as a hang."""
        if self._hang_s is not None:
            return self._hang_s
        if len(self._seconds) < STEPS_NEEDED:
            return START_S
        return max(FLOOR_S, MEDIANS * statistics.median(self._seconds))

    def progress(self, step: int, now: float) -> None:
        """A Progress event: several steps may lie between two of them."""
        if self._last_step is not None and step > self._last_step:
            self._seconds.append((now - self._last_step_at) / (step - self._last_step))
        if self._last_step is None or step > self._last_step:
            self._last_step, self._last_step_at = step, now
        self._last_sign = now

    def sign(self, now: float) -> None:
        """Any other event: a phase, a checkpoint, a hold that ended."""
        self._last_sign = now

    def output(self, now: float) -> None:
        """A line of output."""
        if self.is_starting:
            self._last_sign = now

    def look(self, pid: int, now: float) -> None:
        """Look at the training process, from its start on."""
        if self._last_sign is None:
            self._last_sign = now
        if self.is_starting and abs((cpu := self._cpu_s(pid)) - self._cpu_seen) > STIRRING_CPU_S:
            self._cpu_seen = cpu
            self._last_sign = now

    def absent(self, seconds: float) -> None:
        """Nobody looked for so long: what was frozen with us did not hang."""
        if self._last_sign is not None:
            self._last_sign += seconds
            self._last_step_at += seconds

    def silent_s(self, now: float) -> float:
        """Seconds since the last sign; 0 before the process runs."""
        return 0.0 if self._last_sign is None else now - self._last_sign

    def is_hung(self, now: float) -> bool:
        return self.silent_s(now) > self.limit_s
