"""Delivery report: what the backend has not got, for people.

`trainyard doctor` and `/metrics` read it. A job costs one round trip to Redis, however long its
stream is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from redis import Redis

from trainyard.store.delivery_state import read_progress
from trainyard.store.event_log import entry_position
from trainyard.store.keys import JobKey, Key

JOBS_LOOKED_AT = 1000
"""Of more waiting jobs than this the longest due are counted."""


@dataclass(frozen=True)
class SetAside:
    """A message that the backend will never take.

    ``kind``: ``status``, ``metric`` or ``log``. ``reason``: one sentence. ``http_status``: what
    the backend answered; None where it was never asked. ``at``: UNIX time in seconds.
    """

    job_id: str
    kind: str
    reason: str
    http_status: int | None
    at: float


@dataclass(frozen=True)
class WaitingJob:
    """A job with undelivered messages: ``statuses``, ``metrics``, log ``lines``, and ``again``
    those that a person wants to be sent again.

    ``age_s``: how long ago the oldest was written. ``last_error``: why the last try failed, "" if
    none did. ``heard``: the backend has accepted something of it.
    """

    job_id: str
    statuses: int
    metrics: int
    lines: int
    again: int
    age_s: float
    last_error: str
    heard: bool


@dataclass(frozen=True)
class DeliveryReport:
    """``set_aside``: the newest first, at most ``outbox.SET_ASIDE_KEPT``; ``set_aside_counts``:
    how many ever were, by kind. ``waiting``: the longest waiting first. ``missing_routes``: routes
    that the backend lacks, and when that was last seen (UNIX time in seconds).
    """

    set_aside: list[SetAside]
    set_aside_counts: dict[str, int]
    waiting: list[WaitingJob]
    missing_routes: dict[str, float]

    @property
    def undelivered(self) -> dict[str, int]:
        """How much waits, by kind: statuses, metric points, log lines."""
        return {
            "status": sum(job.statuses for job in self.waiting),
            "metric": sum(job.metrics for job in self.waiting),
            "log": sum(job.lines for job in self.waiting),
        }

    @property
    def oldest_age_s(self) -> float:
        """How long ago the oldest undelivered message was written; 0 where there is none."""
        return max((job.age_s for job in self.waiting), default=0.0)


def delivery_report(redis: Redis) -> DeliveryReport:
    """What was set aside and why, what waits and for how long, which routes the backend lacks.

    ``redis`` must decode responses to str. Raises redis.RedisError where it does not answer.
    """
    client: Any = redis  # redis-py types every answer as bytes or str, sync or async
    waiting = (_waiting(client, job_id) for job_id in _undelivered(client))
    return DeliveryReport(
        set_aside=[_set_aside(raw) for raw in client.lrange(Key.SET_ASIDE, 0, -1)],
        set_aside_counts={
            kind: int(count) for kind, count in client.hgetall(Key.SET_ASIDE_COUNTS).items()
        },
        waiting=sorted((job for job in waiting if job), key=lambda job: -job.age_s),
        missing_routes={
            route: float(at) for route, at in client.hgetall(Key.MISSING_ROUTES).items()
        },
    )


def _undelivered(client: Any) -> list[str]:
    job_ids: list[str] = client.zrange(Key.UNDELIVERED, 0, JOBS_LOOKED_AT - 1)
    return job_ids


def _set_aside(raw: str) -> SetAside:
    record = json.loads(raw)
    return SetAside(
        job_id=record["job_id"],
        kind=record["kind"],
        reason=record["reason"],
        http_status=record.get("http_status"),
        at=float(record["at"]),
    )


def _waiting(client: Any, job_id: str) -> WaitingJob | None:
    """None if all was delivered meanwhile."""
    state: dict[str, str] = client.hgetall(JobKey.DELIVERY.of(job_id))
    progress = read_progress(state)
    pipe = client.pipeline(transaction=False)
    for lane in (progress.status, progress.metric, progress.log):
        pipe.xrange(JobKey.EVENTS.of(job_id), f"({lane.position}", "+", count=1)
    pipe.lrange(JobKey.STATUS_INDEX.of(job_id), 0, -1)
    pipe.hget(JobKey.JOB.of(job_id), "log_lines")
    pipe.lindex(JobKey.LOG_INDEX.of(job_id), 0)
    pipe.xlen(JobKey.AGAIN.of(job_id))
    pipe.time()
    *beyond, statuses, log_lines, log_head, again, (seconds, micros) = pipe.execute()
    first_line_kept = int(log_head.split(" ")[1]) if log_head else 0
    behind = (
        sum(progress.status.is_behind(entry_id) for entry_id in statuses),
        int(state.get("written_metric") or 0) - progress.metric.done,
        int(log_lines or 0) - max(progress.next_line, first_line_kept),
    )
    # A lane stands right before its oldest entry, or at the end of what was read.
    written_ms = [
        entry_position(rows[0][0])[0]
        for rows, count in zip(beyond, behind, strict=True)
        if rows and count > 0
    ]
    if not written_ms and not again:
        return None
    age_s = seconds + micros / 1e6 - min(written_ms, default=seconds * 1000) / 1000
    return WaitingJob(
        job_id, *behind, again, max(0.0, age_s), progress.last_error, heard=progress.heard
    )
