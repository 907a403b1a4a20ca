"""Celery tasks: one attempt of one job, or answers of a trained model. Light: what is heavy has a
process of its own."""

from __future__ import annotations

from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore
from redis.exceptions import RedisError

from trainyard.contract.names import TASK_GENERATE, TASK_TRAIN
from trainyard.settings import settings
from worker.generation.server import GenerationServer
from worker.signals import claimed
from worker.slot import dispatcher, job_store, slot
from worker.supervisor.attempt import Attempt
from worker.supervisor.loss import AttemptFailed


class ClaimedTask(Task):  # type: ignore[misc]  # celery has no types
    """A task whose body runs only if ``task_prerun`` has claimed the attempt."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Raises Ignore, which acknowledges the message, for an attempt that is not ours."""
        if claimed(task_id) is None or list(args) != [task_id]:
            why = "cancelled, claimed before, unknown, or not for this slot, or not now"
            raise Ignore(f"{task_id} is not to be run: {why}")


# A job that fails is no defect of the worker: one line of its log, the job's own has the rest.
@shared_task(name=TASK_TRAIN, base=ClaimedTask, bind=True, throws=(AttemptFailed,))
def train(self: Task, attempt_id: str) -> dict[str, Any]:
    """Run one attempt to its end; returns the AttemptEnd as JSON."""
    job = claimed(attempt_id)
    assert job is not None, "before_start has seen to it"
    attempt = Attempt(job_store(), settings(), slot(), self.request.hostname, job)
    return attempt.run().model_dump(mode="json")


@shared_task(name=TASK_GENERATE, throws=(RedisError,))
def generate(generation_id: str) -> None:
    """Answer a generation, and those that follow, while no training waits for this slot."""
    GenerationServer(settings(), slot(), dispatcher()).run(generation_id)
