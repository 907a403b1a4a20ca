"""Routes of OpenAI's models: ``/v1/models``, what can be fine-tuned and what was."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from backend_bridge.api.file_routes import present_checkpoints
from backend_bridge.openai_api.context import ThisTuning
from backend_bridge.openai_api.errors import ApiRefusal
from backend_bridge.openai_api.job_records import FineTuning
from backend_bridge.openai_api.jobs import Tuning
from backend_bridge.openai_api.model_names import (
    OWNER,
    TunedModel,
    base_models,
    tuned_model,
    tuned_name,
)
from trainyard.contract.statuses import JobStatus
from trainyard.store.job import Job

router = APIRouter(prefix="/models")


@router.get("")
def models(tuning: ThisTuning) -> dict[str, Any]:
    """Results of all jobs, newest first, and the models below MODEL_ROOTS."""
    done, _ = tuning.bridge.store.newest(_has_result, None)
    records = tuning.records.of([job.job_id for job in done])
    tuned = [_of_job(job, records.get(job.job_id)) for job in done]
    bases = base_models(tuning.bridge.settings.model_roots)
    return {"object": "list", "data": [*tuned, *(_model(*base) for base in bases.items())]}


@router.get("/{name:path}")
def model(tuning: ThisTuning, name: str) -> dict[str, Any]:
    """One of them; of a job's checkpoints too."""
    tuned = tuned_model(name)
    if tuned is not None:
        job = tuning.bridge.store.get(tuned.job_id)
        if job is not None and _has(tuning, job, tuned):
            return {**_of_job(job, None), "id": name}
    elif name in (bases := base_models(tuning.bridge.settings.model_roots)):
        return _model(name, bases[name])
    raise no_such_model(name)


def no_such_model(name: str) -> ApiRefusal:
    """Of a name that nothing has."""
    said = f"there is no model {name!r}; GET /v1/models lists them"
    return ApiRefusal(404, said, param="model", code="model_not_found")


def _has(tuning: Tuning, job: Job, tuned: TunedModel) -> bool:
    if tuned.step is None:
        return _has_result(job)
    stored = present_checkpoints(tuning.bridge, job)
    return any(one.checkpoint.path == tuned.checkpoint for one in stored)


def _has_result(job: Job) -> bool:
    return job.status is JobStatus.COMPLETED


def _of_job(job: Job, record: FineTuning | None) -> dict[str, Any]:
    suffix = record.suffix if record else None
    name = tuned_name(record.model if record else job.model, suffix, job.job_id)
    return _model(name, int(job.completed_at or job.created_at))


def _model(name: str, created: int) -> dict[str, Any]:
    return {"object": "model", "id": name, "created": created, "owned_by": OWNER}
