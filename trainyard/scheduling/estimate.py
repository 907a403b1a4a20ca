"""Estimate of when a waiting job starts, from the live step times of what runs."""

from __future__ import annotations

import heapq
import statistics
from bisect import bisect_left
from collections.abc import Collection, Sequence

from trainyard.store.job_store import JobStore


class StartEstimate:
    """When the jobs of the queue start.

    ``remaining_s``: seconds left of each running job, None if it is not known yet;
    ``typical_s``: how long a job takes whose own steps nobody has seen, None if no job has
    completed yet. An estimate is None if a figure that it depends on is not known.
    """

    def __init__(
        self, remaining_s: Sequence[float | None], slots: int, typical_s: float | None
    ) -> None:
        running = [typical_s if left is None else left for left in remaining_s]
        known = [_ms(left) for left in running if left is not None]
        free = [0] * max(slots - len(running), 0)
        # A running job of which nothing is known may end before any of the others.
        self._free_at_ms = sorted(free + known if len(known) == len(running) else free)
        self._typical_ms = None if typical_s is None else max(1, _ms(typical_s))

    def at(self, position: int) -> float | None:
        """Seconds until the job at ``position`` (from 1) starts; does not walk the queue."""
        typical_ms = self._typical_ms
        if typical_ms is None or not self._free_at_ms:
            free = self._free_at_ms
            return _seconds(free[position - 1]) if position <= len(free) else None

        def started(ms: int) -> int:
            return sum(max(0, (ms - at) // typical_ms + 1) for at in self._free_at_ms)

        latest_ms = self._free_at_ms[0] + position * typical_ms
        return _seconds(bisect_left(range(latest_ms), position, key=started))

    def first(self, count: int) -> list[float | None]:
        """The estimates of the first ``count`` jobs."""
        free = list(self._free_at_ms)
        if self._typical_ms is None or not free:
            starts = [_seconds(ms) for ms in free[:count]]
            return [*starts, *[None] * (count - len(starts))]
        starts = []
        for _ in range(count):
            starts.append(_seconds(free[0]))
            heapq.heapreplace(free, free[0] + self._typical_ms)
        return list(starts)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _seconds(ms: int) -> float:
    return round(ms / 1000, 1)


def estimate_now(store: JobStore, slots: Collection[str]) -> StartEstimate:
    """The estimate for the queue as it is, over the ``slots`` that take jobs: none without one."""
    running = [job for job in store.jobs(store.occupying()) if job.slot in slots]
    remaining = [job.progress.get("remaining_seconds") for job in running]
    durations = store.recent_durations_s()
    typical_s = statistics.median(durations) if durations else None
    return StartEstimate(remaining, len(slots), typical_s)
