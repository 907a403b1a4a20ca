"""Counters since the first job: how long jobs waited and ran, and how they ended.

The scripts that change a job's state count (``lua/prelude.lua``), so nothing is counted twice and
pruning a job takes nothing away; what becomes no job is counted by who sets it aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from trainyard.contract.errors import ErrorKind
from trainyard.contract.statuses import TERMINAL
from trainyard.contract.usage.used import Usage
from trainyard.store.keys import Key

BUCKETS_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, *(n * 86_400 for n in (3, 7, 14)))
"""Upper bounds in seconds, also of the scripts."""


@dataclass(frozen=True)
class Durations:
    """``buckets``: how many were no longer than each of BUCKETS_S, cumulated."""

    buckets: dict[int, int]
    count: int
    sum_s: float


@dataclass(frozen=True)
class Totals:
    """``wait``: from queued to claimed; ``run``: of each attempt. ``ended``: jobs, by state.
    ``failed``: those that failed, by the kind of their error. ``rejected``: requests through Redis
    that were not understood. ``used``: by attempts that have ended."""

    wait: Durations
    run: Durations
    restarts: int
    rejected: int
    ended: dict[str, int]
    failed: dict[str, int]
    used: Usage


def read_totals(redis: Redis) -> Totals:
    """``redis`` must decode responses to str. Raises redis.RedisError."""
    client: Any = redis  # redis-py types every answer as bytes or str, sync or async
    raw: dict[str, str] = client.hgetall(Key.TOTALS)
    return Totals(
        wait=_durations(raw, "wait"),
        run=_durations(raw, "run"),
        restarts=int(raw.get("restarts", 0)),
        rejected=int(raw.get("rejected", 0)),
        ended={state: int(raw.get(f"ended:{state}", 0)) for state in sorted(TERMINAL)},
        failed={kind: int(raw.get(f"failed:{kind}", 0)) for kind in ErrorKind},
        used=Usage(
            slot_s=int(raw.get("used:slot_ms", 0)) / 1000,
            gpu_s=int(raw.get("used:gpu_ms", 0)) / 1000,
            metered_s=int(raw.get("used:metered_ms", 0)) / 1000,
            energy_j=int(raw.get("used:energy_mj", 0)) / 1000,
        ),
    )


def count_rejected(pipe: Any) -> None:
    """Count one request that was not understood, in the pipeline that sets it aside."""
    pipe.hincrby(Key.TOTALS, "rejected", 1)


def _durations(raw: Mapping[str, str], name: str) -> Durations:
    buckets, so_far = {}, 0
    for bound_s in BUCKETS_S:
        so_far += int(raw.get(f"{name}:le:{bound_s}", 0))
        buckets[bound_s] = so_far
    return Durations(
        buckets, int(raw.get(f"{name}:count", 0)), int(raw.get(f"{name}:ms", 0)) / 1000
    )
