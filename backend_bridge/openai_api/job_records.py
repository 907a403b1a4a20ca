"""Records of fine-tunings: what OpenAI's objects hold of a job beyond what the job itself knows.

One lies beside each job in Redis, and goes when the job does. A job without one was started in
another way, and is none of OpenAI's.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from redis import Redis

from backend_bridge.openai_api.asked import AskedMethod
from trainyard.store.keys import JobKey

JOB_PREFIX = "ftjob-"


class FineTuning(BaseModel):
    """What was asked for."""

    model: str
    training_file: str
    validation_file: str | None
    method: AskedMethod
    suffix: str | None
    seed: int
    metadata: dict[str, str] | None


class FineTunings:
    """The records of one Redis. Every method raises redis.RedisError if it does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py types every answer as bytes or str, sync or async

    def write(self, job_id: str, record: FineTuning) -> None:
        """Before the job: a job without one would be nobody's here."""
        self._redis.set(JobKey.FINE_TUNING.of(job_id), record.model_dump_json())

    def drop(self, job_id: str) -> None:
        """There is no such job after all."""
        self._redis.delete(JobKey.FINE_TUNING.of(job_id))

    def read(self, job_id: str) -> FineTuning | None:
        """None of a job that was started in another way."""
        found = self.of([job_id])
        return found.get(job_id)

    def of(self, job_ids: list[str]) -> dict[str, FineTuning]:
        """Those that there are, by job."""
        ours = [job_id for job_id in job_ids if job_id.startswith(JOB_PREFIX)]
        if not ours:
            return {}
        written = self._redis.mget([JobKey.FINE_TUNING.of(job_id) for job_id in ours])
        return {
            job_id: FineTuning.model_validate_json(record)
            for job_id, record in zip(ours, written, strict=True)
            if record is not None
        }
