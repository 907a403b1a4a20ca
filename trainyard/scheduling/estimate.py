"""Estimate of when a waiting job starts, from the live step times of what runs."""

from __future__ import annotations

import heapq
import statistics
import time
from bisect import bisect_left
from collections.abc import Collection, Sequence

from trainyard.scheduling.generations import TURN_S, Generations
from trainyard.scheduling.making_way.slip_ins import who_makes_way
from trainyard.store.job import Job
from trainyard.store.job_store import JobStore

LOOK_S = 1.0
"""How often couriers look for who is to make way."""


class StartEstimate:
    """When the jobs of the queue start.

    ``remaining_s``: seconds left of each running job, None if it is not known yet;
    ``typical_s``: how long a job takes whose own steps nobody has seen, None if no job has
    completed yet. An estimate is None if a figure that it depends on is not known.
    ``slips_in_s``: when those that are first slip in, since another job makes way for each.
    """

    def __init__(
        self,
        remaining_s: Sequence[float | None],
        slots: int,
        typical_s: float | None,
        slips_in_s: Sequence[float] = (),
    ) -> None:
        self._slips_in_s = list(slips_in_s)
        running = [typical_s if left is None else left for left in remaining_s]
        known = [_ms(left) for left in running if left is not None]
        free = [0] * max(slots - len(running), 0)
        # A running job of which nothing is known may end before any of the others.
        self._free_at_ms = sorted(free + known if len(known) == len(running) else free)
        self._typical_ms = None if typical_s is None else max(1, _ms(typical_s))

    def at(self, position: int) -> float | None:
        """Seconds until the job at ``position`` (from 1) starts; does not walk the queue."""
        if position <= len(self._slips_in_s):
            return self._slips_in_s[position - 1]
        position -= len(self._slips_in_s)
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
        slipping, count = self._slips_in_s[:count], max(0, count - len(self._slips_in_s))
        return [*slipping, *self._in_turn(count)]

    def _in_turn(self, count: int) -> list[float | None]:
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


def estimate_now(
    store: JobStore, slots: Collection[str], slip_ins_per_hour: int = 0
) -> StartEstimate:
    """The estimate for the queue as it is, over the ``slots`` that take jobs: none without one.

    A job that makes way ends later, by the time of what slips in.
    """
    occupying, durations = store.pace()
    running = [job for job in store.jobs(occupying) if job.slot in slots]
    remaining = {job.job_id: job.progress.get("remaining_seconds") for job in running}
    typical_s = statistics.median(durations) if durations else None
    asked_for = {job.way_for: job.job_id for job in running if job.is_to_make_way and job.way_for}
    for name in Generations(store.redis).questions() if asked_for else ():
        if (left_s := remaining.get(asked_for.get(name, ""))) is not None:
            remaining[asked_for[name]] = left_s + TURN_S
    slips_in_s = []
    busy = len(running) >= len(slots)
    for short in store.slip_ins() if busy and slots else ():
        asked = [job for job in running if f"{job.job_id}:{job.attempt}" == short.slips_before]
        found = asked[0] if asked else who_makes_way(running, short, slip_ins_per_hour, time.time())
        if found is None:
            break
        running.remove(found)
        slips_in_s.append(round(LOOK_S + _step_s(found), 1))
        left_s = remaining[found.job_id]
        ends_s = None if left_s is None or typical_s is None else left_s + typical_s
        remaining[found.job_id] = ends_s
    return StartEstimate(list(remaining.values()), len(slots), typical_s, slips_in_s)


def _step_s(job: Job) -> float:
    """Of one step of it; nothing if that is not known yet."""
    left = (job.progress.get("total_steps") or 0) - (job.progress.get("step") or 0)
    return (job.progress.get("remaining_seconds") or 0.0) / left if left > 0 else 0.0
