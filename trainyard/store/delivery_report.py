"""Delivery report: what the backend has not got, for people.

`trainyard doctor` and `/metrics` read it. A job costs one round trip to Redis, however long its
stream is.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redis import Redis

from trainyard.store.delivery_state import read_progress
from trainyard.store.event_log import entry_position
from trainyard.store.keys import JobKey, Key

LATE_S = 60.0
"""Reports that are older, and that the backend should have, are stuck."""
JOBS_LOOKED_AT = 1000
"""Of more waiting jobs than this (``jobs``) the longest due are counted."""


@dataclass(frozen=True)
class SetAside:
    """A message that the backend will never take.

    ``kind``: ``status``, ``metric`` or ``log``. ``reason``: one sentence. ``http_status``: what
    the backend answered; None if it was never asked. ``at``: UNIX time in seconds.
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

    @property
    def is_stuck(self) -> bool:
        """A job that the backend knows, and of which it takes nothing more."""
        return self.heard and self.age_s > LATE_S


@dataclass(frozen=True)
class Backlog:
    """Messages (a log line is one) that have not arrived, and how old the oldest of them is."""

    messages: int
    oldest_s: float


@dataclass(frozen=True)
class DeliveryReport:
    """``set_aside``: the newest first, at most ``outbox.SET_ASIDE_KEPT``; ``set_aside_counts``:
    how many ever were, by kind. ``waiting``: the longest waiting first. ``missing_routes``: routes
    that the backend lacks, and when that was last seen (UNIX time in seconds).
    ``accepted_s``: how long ago the backend took anything of any job; None if it never did.
    """

    set_aside: list[SetAside]
    set_aside_counts: dict[str, int]
    waiting: list[WaitingJob]
    missing_routes: dict[str, float]
    accepted_s: float | None

    @property
    def stuck(self) -> list[WaitingJob]:
        """Jobs whose reports do not get through: of those that the backend never accepted anything
        of only if it took nothing of any other since."""
        nothing_s = math.inf if self.accepted_s is None else self.accepted_s
        return [
            job
            for job in self.waiting
            if job.is_stuck or (not job.heard and job.last_error and LATE_S < job.age_s < nothing_s)
        ]

    @property
    def undelivered(self) -> dict[str, int]:
        """How much waits, by kind: statuses, metric points, log lines."""
        return {
            "status": sum(job.statuses for job in self.waiting),
            "metric": sum(job.metrics for job in self.waiting),
            "log": sum(job.lines for job in self.waiting),
        }

    @property
    def backlog(self) -> dict[str, Backlog]:
        """What has not arrived, by its state: ``waiting`` of jobs that the backend knows,
        ``unheard`` of those of which it has accepted nothing yet, and ``set_aside``."""
        now_s = time.time()
        set_aside_s = max((now_s - one.at for one in self.set_aside), default=0.0)
        return {
            "waiting": _backlog(job for job in self.waiting if job.heard),
            "unheard": _backlog(job for job in self.waiting if not job.heard),
            "set_aside": Backlog(len(self.set_aside), max(0.0, set_aside_s)),
        }

    @property
    def oldest_age_s(self) -> float:
        """How long ago the oldest undelivered message was written; 0 if there is none."""
        return max((job.age_s for job in self.waiting), default=0.0)


def _backlog(jobs: Iterable[WaitingJob]) -> Backlog:
    known = [(job.statuses + job.metrics + job.lines + job.again, job.age_s) for job in jobs]
    return Backlog(sum(n for n, _ in known), max((age_s for _, age_s in known), default=0.0))


def delivery_report(redis: Redis, jobs: int = JOBS_LOOKED_AT) -> DeliveryReport:
    """What was set aside and why, what waits and for how long, which routes the backend lacks.

    ``redis`` must decode responses to str. Raises redis.RedisError if it does not answer.
    """
    client: Any = redis  # redis-py types every answer as bytes or str, sync or async
    waiting = (_waiting(client, job_id) for job_id in _undelivered(client, jobs))
    return DeliveryReport(
        set_aside=[_set_aside(raw) for raw in client.lrange(Key.SET_ASIDE, 0, -1)],
        set_aside_counts={
            kind: int(count) for kind, count in client.hgetall(Key.SET_ASIDE_COUNTS).items()
        },
        waiting=sorted((job for job in waiting if job), key=lambda job: -job.age_s),
        missing_routes={
            route: float(at) for route, at in client.hgetall(Key.MISSING_ROUTES).items()
        },
        accepted_s=_accepted_s(client),
    )


def _accepted_s(client: Any) -> float | None:
    accepted_ms, (seconds, micros) = client.get(Key.ACCEPTED), client.time()
    if accepted_ms is None:
        return None
    return max(0.0, float(seconds + micros / 1e6 - int(accepted_ms) / 1000))


def _undelivered(client: Any, jobs: int) -> list[str]:
    job_ids: list[str] = client.zrange(Key.UNDELIVERED, 0, jobs - 1)
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
