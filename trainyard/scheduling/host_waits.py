"""Jobs that wait for their host: their checkpoints lie on one whose workers are not there.

They are in no queue of the broker; the reapers send them when it is back. A change of a job's state
takes it out (``store/lua/transition.lua``).
"""

from __future__ import annotations

from typing import Any

from redis import Redis

from trainyard.store.job import Job
from trainyard.store.keys import Key


class HostWaits:
    """Names of those jobs in Redis, each with the time since when it waits."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async

    def note(self, job_id: str) -> None:
        """Since now, or as was noted before."""
        self.redis.zadd(Key.HOST_WAITS, {job_id: int(self.redis.time()[0])}, nx=True)

    def forget(self, job_id: str) -> None:
        self.redis.zrem(Key.HOST_WAITS, job_id)

    def waited_s(self) -> dict[str, float]:
        """For how long each has waited, the longest first."""
        now_s = int(self.redis.time()[0])
        found = self.redis.zrange(Key.HOST_WAITS, 0, -1, withscores=True)
        return {job_id: now_s - since_s for job_id, since_s in found}


def waits_for(job: Job) -> str:
    """The reason of such a job, for people."""
    host = f"host {job.home_host}" if job.home_host else "a host that is not there"
    if job.origin:
        return f"waits for {host}, which has what it goes on from, the job {job.origin}"
    return (
        f"waits for {host}, which has its checkpoints; "
        f"`trainyard force-start {job.job_id} --from-start` starts it afresh on another"
    )
