"""Short calls on a job store, for tests of its transitions."""

from __future__ import annotations

import json
from typing import Any

from redis import Redis

from tests.support.requests import start_request
from trainyard.store.attempt_writes import StoredEvent
from trainyard.store.job import Job
from trainyard.store.job_store import JobStore

JOB = "job-1"
METRIC = StoredEvent("metric", '{"step": 1, "epoch": 0}')


def job_store(
    redis: Redis, *, lease_s: float = 30, log_lines_kept: int = 10_000, max_restarts: int = 2
) -> JobStore:
    """A store as the settings' defaults make it."""
    return JobStore(
        redis, lease_s=lease_s, log_lines_kept=log_lines_kept, max_restarts=max_restarts
    )


def admit(store: JobStore, job_id: str = JOB, **limits: Any) -> str:
    return store.admit(start_request(job_id), **{"slots": 1, **limits}).verdict


def claim(store: JobStore, attempt: int = 1) -> bool:
    return store.claim(JOB, attempt, slot="slot-0", worker="worker-0")


def stored(store: JobStore, job_id: str = JOB) -> Job:
    """A job that is there."""
    job = store.get(job_id)
    assert job is not None
    return job


def events(redis: Any, job_id: str = JOB) -> list[dict[str, str]]:
    return [fields for _, fields in redis.xrange(f"trainyard:events:{job_id}")]


def statuses(redis: Any, job_id: str = JOB) -> list[str]:
    found = [json.loads(e["data"]) for e in events(redis, job_id) if e["kind"] == "status"]
    return [data["status"] for data in found]
