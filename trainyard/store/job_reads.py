"""Reads of the job store: jobs, the queue, a job's request and token."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import SecretStr
from redis import Redis

from trainyard.store.job import Job
from trainyard.store.keys import JobKey, Key

_PAGE = 200
SLIP_INS_READ = 100
"""So many at once: they are read once a second, and for each estimate of a start."""


class JobReads:
    """Reads of jobs. ``redis`` must decode responses to str."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async

    def get(self, job_id: str) -> Job | None:
        raw = self.redis.hgetall(JobKey.JOB.of(job_id))
        return Job.from_hash(raw) if raw else None

    def get_in_queue(self, job_id: str) -> tuple[Job | None, int | None]:
        """The job and its place in the queue, by one round trip."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.hgetall(JobKey.JOB.of(job_id))
        pipe.zrank(Key.WAITING, job_id)
        raw, rank = pipe.execute()
        return (Job.from_hash(raw) if raw else None), (None if rank is None else rank + 1)

    def jobs(self, job_ids: Iterable[str] | None = None) -> list[Job]:
        """The named jobs, or all of them, oldest first."""
        if job_ids is None:
            job_ids = self._members(Key.JOBS)
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(JobKey.JOB.of(job_id))
        return [Job.from_hash(raw) for raw in pipe.execute() if raw]

    def group(self, group: str) -> list[Job]:
        """The jobs that a sweep made and that are still known, in its order; none of no sweep."""
        return self.jobs(self._members(JobKey.GROUP.of(group)))

    def newest(
        self, wanted: Callable[[Job], bool], limit: int | None, after: str | None = None
    ) -> tuple[list[Job], str | None]:
        """So many jobs that are ``wanted``, newest first, and where the next ones begin.

        ``after`` is what an earlier call gave; None begins with the newest. The second is None if
        there are no more. It stays right if jobs come or go meanwhile.
        """
        found: list[Job] = []
        place, size = self._place_after(after), min(_PAGE, limit or _PAGE)
        while page := self.redis.zrevrange(Key.JOBS, place, place + size - 1, withscores=True):
            made_ms = dict(page)
            for job in self.jobs(made_ms):
                if wanted(job):
                    found.append(job)
                if len(found) == limit:
                    return found, f"{made_ms[job.job_id]:.0f}:{job.job_id}"
            place, size = place + size, min(_PAGE, 2 * size)  # few may be wanted
        return found, None

    def _place_after(self, after: str | None) -> int:
        if after is None:
            return 0
        made_ms, _, job_id = after.partition(":")
        rank = self.redis.zrevrank(Key.JOBS, job_id)
        if rank is not None:
            return int(rank) + 1
        return int(self.redis.zcount(Key.JOBS, f"({int(made_ms)}", "+inf"))  # it was pruned

    def queue_positions(self, job_ids: Sequence[str]) -> list[int | None]:
        """As :meth:`queue_position`, of several."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.zrank(Key.WAITING, job_id)
        return [None if rank is None else rank + 1 for rank in pipe.execute()]

    def statuses(self) -> list[str]:
        """The state of every job."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in self._members(Key.JOBS):
            pipe.hget(JobKey.JOB.of(job_id), "status")
        return [status for status in pipe.execute() if status]

    def waiting(self) -> list[str]:
        """Ids of the queued jobs, next first."""
        return self._members(Key.WAITING)

    def slip_ins(self) -> list[Job]:
        """Queued jobs for which another may make way, the oldest first; of very many the first."""
        ids = list(self.redis.smembers(Key.SLIP_INS))
        if len(ids) > SLIP_INS_READ:
            pipe = self.redis.pipeline(transaction=False)
            for job_id in ids:
                pipe.hget(JobKey.JOB.of(job_id), "created_at")
            made_ms = dict(zip(ids, (int(at or 0) for at in pipe.execute()), strict=True))
            ids = sorted(ids, key=lambda job_id: made_ms[job_id])[:SLIP_INS_READ]
        return sorted(self.jobs(ids), key=lambda job: job.created_at)

    def made_way(self) -> list[Job]:
        """Queued jobs that have made way."""
        return self.jobs(self.redis.smembers(Key.MADE_WAY))

    def waiting_count(self) -> int:
        return int(self.redis.zcard(Key.WAITING))

    def occupying_count(self) -> int:
        return int(self.redis.zcard(Key.OCCUPYING))

    def occupying(self) -> list[str]:
        """Ids of the jobs that may hold a slot."""
        return self._members(Key.OCCUPYING)

    def _members(self, key: str) -> list[str]:
        members: list[str] = self.redis.zrange(key, 0, -1)
        return members

    def queue_position(self, job_id: str) -> int | None:
        """1 for the job that runs next; None for a job that does not wait."""
        rank = self.redis.zrank(Key.WAITING, job_id)
        return None if rank is None else int(rank) + 1

    def pace(self) -> tuple[list[str], list[float]]:
        """Ids of the jobs that may hold a slot, and seconds that the last completed jobs took from
        their first start, newest first; by one round trip."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.zrange(Key.OCCUPYING, 0, -1)
        pipe.lrange(Key.DURATIONS, 0, -1)
        occupying, durations = pipe.execute()
        return occupying, [int(ms) / 1000 for ms in durations]

    def request(self, job_id: str) -> dict[str, Any]:
        """The job's normalised request, without secrets. Raises KeyError for no such job."""
        raw = self.redis.get(JobKey.REQUEST.of(job_id))
        if raw is None:
            raise KeyError(job_id)
        document: dict[str, Any] = json.loads(raw)
        return document

    def token(self, job_id: str) -> SecretStr | None:
        """The job's token at the backend, only to recognise it if it leaks."""
        token = self.redis.get(JobKey.TOKEN.of(job_id))
        return SecretStr(token) if token else None

    def dataset_url(self, job_id: str) -> SecretStr | None:
        """The data sets' whole URLs with a secret in them, a line each: the request lacks it."""
        url = self.redis.get(JobKey.DATASET_URL.of(job_id))
        return SecretStr(url) if url else None

    def redis_run(self) -> tuple[str, float]:
        """Which run of the Redis server this is, and for how many seconds it is up."""
        server = self.redis.info("server")
        return server["run_id"], float(server["uptime_in_seconds"])
