"""What the bridge's routes work with."""

from __future__ import annotations

from celery import Celery
from fastapi import HTTPException
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend_bridge.intake.admission import Admission
from backend_bridge.intake.job_control import JobControl, no_such_job
from trainyard.scheduling.dispatch import Dispatcher
from trainyard.scheduling.estimate import estimate_now
from trainyard.scheduling.queue import JobQueue
from trainyard.scheduling.slots import SlotRegistry, any_gpu, slot_count
from trainyard.settings import Settings
from trainyard.store.event_log import EventLog
from trainyard.store.job import Job
from trainyard.store.job_files import JobFiles
from trainyard.store.job_store import open_job_store

HEALTH_TIMEOUT_S = 2.0
"""The backend waits 5 s for an answer of ``/health``."""


class Bridge:
    """What the routes work with."""

    def __init__(self, settings: Settings, redis: Redis, celery: Celery) -> None:
        self.settings = settings
        self.store = open_job_store(redis, settings)
        self.queue = JobQueue(celery, redis)
        self.slots = SlotRegistry(redis)
        self.events = EventLog(redis)
        self.files = JobFiles(settings)
        self.dispatcher = Dispatcher(self.store, self.queue, self.slots)
        self.control = JobControl(self.store, self.queue, self.dispatcher, self.files)
        self.admission = Admission(
            self.store,
            self.queue,
            slots=self.slot_count,
            max_queued=settings.max_queued_jobs,
            gpu=lambda: any_gpu(self.slots),
        )

    def check_redis(self) -> None:
        """Raises RedisError within HEALTH_TIMEOUT_S where Redis does not answer."""
        with Redis.from_url(
            self.settings.redis_location,
            socket_timeout=HEALTH_TIMEOUT_S,
            socket_connect_timeout=HEALTH_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        ) as probe:
            probe.ping()

    def slot_count(self) -> int:
        """Slots that are alive, and no fewer than the settings promise."""
        return slot_count(self.slots, self.settings)

    def starts_in_s(self, position: int | None) -> float | None:
        """Estimate of when the job at ``position`` of the queue starts."""
        if position is None:
            return None
        return estimate_now(self.store, self.slot_count()).at(position)

    def job(self, job_id: str) -> Job:
        job = self.store.get(job_id)
        if job is None:
            raise HTTPException(404, no_such_job(job_id))
        return job
