"""A yard without workers: every way in, every control and the reaper, over one Redis."""

from __future__ import annotations

import json
from typing import Any

from backend_bridge.intake.admission import Admission, Admitted
from backend_bridge.intake.job_control import JobControl
from backend_bridge.reaper import Reaper
from tests.support.requests import request_body
from tests.support.store_calls import job_store
from trainyard.scheduling.dispatch import open_dispatcher
from trainyard.settings import read_settings
from trainyard.store.job import Job
from trainyard.store.job_files import JobFiles


class PlainYard:
    """``take`` stands in for a worker: the message out of the broker, then the claim."""

    def __init__(self, redis: Any, celery: Any, *, max_queued: int | None = None) -> None:
        self.redis = redis
        self.store = job_store(redis)
        self.dispatcher = open_dispatcher(self.store, celery, redis)
        self.queue = self.dispatcher.queue
        self.reaper = Reaper(self.dispatcher)
        files = JobFiles(read_settings())
        self.control = JobControl(self.dispatcher, files)
        self.admission = Admission(
            self.store,
            self.queue,
            slots=lambda: 1,
            max_queued=max_queued,
            files=files,
            send=self.dispatcher.send,
        )

    def admit(self, job_id: str, **changes: Any) -> Admitted:
        return self.admission.admit(request_body(job_id, **changes))

    def take(self, job_id: str, attempt: int = 1) -> None:
        assert self.queue.remove(f"{job_id}:{attempt}")
        assert self.store.claim(job_id, attempt, slot="box-0", worker="w")

    def complete(self, job_id: str, **point: float) -> None:
        """From the broker to its end; ``point``: its latest metrics."""
        job = self.job(job_id)
        self.take(job_id, job.attempt)
        if point:
            self.redis.hset(f"trainyard:job:{job_id}", "point", json.dumps(point))
        assert self.store.complete(job_id, job.attempt, {})

    def rounds(self, count: int = 2) -> None:
        for _ in range(count):
            self.reaper.release()
            self.reaper.send_again()

    def job(self, job_id: str) -> Job:
        job = self.store.get(job_id)
        assert job is not None
        return job

    def sent(self) -> set[str]:
        return self.queue.attempts(["box-0"])
