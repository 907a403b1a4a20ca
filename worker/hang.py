"""Sees a training that makes no step any more."""

from __future__ import annotations

import statistics
from collections import deque

STEPS_NEEDED = 5
MEDIANS = 50
FLOOR_S = 120.0


class HangWatch:
    """Told of every sign of progress; :meth:`is_hung` says when there has been none for too long.

    The limit is ``hang_s`` where set, else MEDIANS times the median step, at least FLOOR_S, once
    STEPS_NEEDED steps are known. Before the first step (downloads, tokenising) and while it is
    held nothing counts as a hang. Times are ``time.monotonic()``.
    """

    def __init__(self, hang_s: float | None = None) -> None:
        self._hang_s = hang_s
        self._seconds: deque[float] = deque(maxlen=200)
        self._last_step: int | None = None
        self._last_sign: float | None = None
        self._last_step_at = 0.0

    @property
    def limit_s(self) -> float | None:
        """Seconds without a sign that count as a hang; None while that cannot be told."""
        if self._hang_s is not None:
            return self._hang_s
        if len(self._seconds) < STEPS_NEEDED:
            return None
        return max(FLOOR_S, MEDIANS * statistics.median(self._seconds))

    def progress(self, step: int, now: float) -> None:
        """A Progress event: several steps may lie between two of them."""
        if self._last_step is not None and step > self._last_step:
            self._seconds.append((now - self._last_step_at) / (step - self._last_step))
        if self._last_step is None or step > self._last_step:
            self._last_step, self._last_step_at = step, now
        self._last_sign = now

    def sign(self, now: float) -> None:
        """Any other sign of life after the first step: a phase, a checkpoint, a hold that ended."""
        if self._last_sign is not None:
            self._last_sign = now

    def silent_s(self, now: float) -> float:
        """Seconds since the last sign; 0 before the first step."""
        return 0.0 if self._last_sign is None else now - self._last_sign

    def is_hung(self, now: float) -> bool:
        limit = self.limit_s
        return limit is not None and self.silent_s(now) > limit
