"""When a waiting job is likely to start, from the live step times of what runs."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Sequence

from backend_bridge.job_store import JobStore


def estimated_starts(
    remaining_s: Sequence[float | None], slots: int, waiting: int, typical_s: float | None
) -> list[float | None]:
    """Seconds until each of ``waiting`` jobs starts, in the order of the queue.

    ``remaining_s``: of each running job, None where it is not known yet; ``typical_s``: how long
    a job takes whose own steps nobody has seen, None where no job has completed yet. None from
    the first job on for which a figure that it depends on is not known.
    """
    running = [typical_s if left is None else left for left in remaining_s]
    free_at = [left for left in running if left is not None]
    known = len(free_at) == len(running)
    free_at += [0.0] * max(slots - len(running), 0)
    heapq.heapify(free_at)
    starts: list[float | None] = []
    for _ in range(waiting):
        if not free_at or (not known and free_at[0] > 0):
            break
        start = heapq.heappop(free_at)
        starts.append(round(start, 1))
        if typical_s is not None:
            heapq.heappush(free_at, start + typical_s)
    return [*starts, *[None] * (waiting - len(starts))]


def starts_now(store: JobStore, slots: int, waiting: int) -> list[float | None]:
    """:func:`estimated_starts` of the first ``waiting`` jobs of the queue as it is."""
    running = store.jobs(store.occupying())
    remaining = [job.progress.get("remaining_seconds") for job in running]
    durations = store.recent_durations_s()
    typical_s = statistics.median(durations) if durations else None
    return estimated_starts(remaining, slots, waiting, typical_s)
