"""Retry policy of the delivery: when a sender tries again, and when it gives up."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class DeliveryPolicy:
    """Pauses between tries, in seconds.

    ``backoff_base_s``, ``backoff_cap_s``: exponential backoff with full jitter.
    ``retry_after_cap_s``: the longest pause that a backend can ask for. ``access_delays_s``:
    pauses after a 401 or 404 for a job of which nothing was accepted yet; ``unheard_delay_s``: the
    pauses after those. ``missing_route_delay_s``: pause after a route was missing;
    ``optional_route_s``: after one was that a backend may lack. ``row_s``: pause between two
    tellings of a job's row while it runs; ``row_after_s``: from a status, but for the first and the
    last, to its row. ``turn_s``: how long one job may keep a sender while others wait.
    ``redis_pause_s``: pause while Redis is away. ``poll_s``: how often a forwarder looks for due
    jobs if no event wakes it. ``patience_s``: how long a message may hold up the statuses behind
    it. ``slow_s``: a job with a slower answer is served after the others.
    ``lock_margin_s``: how long a job's lock outlasts a request; a dead sender's job waits for it.
    ``random`` gives numbers in [0, 1).
    """

    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    retry_after_cap_s: float = 600.0
    access_delays_s: tuple[float, ...] = (2.0, 8.0, 20.0, 30.0)
    unheard_delay_s: float = 600.0
    missing_route_delay_s: float = 60.0
    optional_route_s: float = 3600.0
    row_s: float = 10.0
    row_after_s: float = 1.0
    turn_s: float = 2.0
    redis_pause_s: float = 0.5
    poll_s: float = 1.0
    patience_s: float = 30.0
    slow_s: float = 1.0
    lock_margin_s: float = 5.0
    random: Callable[[], float] = secrets.SystemRandom().random

    def backoff_s(self, failures: int, retry_after_s: float | None = None) -> float:
        """Pause after the ``failures``-th failure in a row (from 1)."""
        ceiling = min(self.backoff_cap_s, self.backoff_base_s * 2.0 ** min(failures - 1, 16))
        pause = self.random() * ceiling
        if retry_after_s is not None:
            # The jitter comes on top: everybody was told the same number.
            return min(retry_after_s, self.retry_after_cap_s) + pause
        return pause

    def unheard_s(self, failures: int) -> float:
        """Pause after the ``failures``-th 401 or 404 of a job that the backend never heard of."""
        if failures <= len(self.access_delays_s):
            return self.access_delays_s[failures - 1]
        return self._spread(self.unheard_delay_s)

    def missing_route_s(self) -> float:
        """Pause after a route was missing."""
        return self._spread(self.missing_route_delay_s)

    def _spread(self, pause_s: float) -> float:
        """Not all jobs should ask at once."""
        return pause_s * (0.75 + self.random() / 2)
