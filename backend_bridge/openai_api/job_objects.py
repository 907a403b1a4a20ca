"""Job objects of OpenAI: the fine-tuning itself, its events, its checkpoints."""

from __future__ import annotations

import json
import time
from typing import Any

from backend_bridge.openai_api.job_records import FineTuning
from backend_bridge.openai_api.job_request import hyperparameters_of
from backend_bridge.openai_api.model_names import OWNER, tuned_name
from trainyard.contract.events import Checkpoint, Metric
from trainyard.contract.statuses import STATUSES, JobStatus
from trainyard.store.event_log import Entry, StoredCheckpoint
from trainyard.store.job import Job

EVENT_KINDS = ("status", "metric", "checkpoint")
CREATED = "0-0"
"""Of the first event, which no stream has: the job came into being."""
_SAID_OF = {
    "running": "Fine-tuning job started",
    "paused": "Fine-tuning job paused: its checkpoint is written and verified",
    "completed": "The job has successfully completed",
    "cancelled": "The job was cancelled",
    "failed": "The job failed",
}
_LEVEL_OF = {"failed": "error", "cancelled": "warn"}


def result_file_id(job_id: str) -> str:
    """The id of the file with the metrics of a job that succeeded."""
    return f"file-{job_id}"


def job_object(job: Job, record: FineTuning) -> dict[str, Any]:
    """``fine_tuning.job``."""
    done = job.status is JobStatus.COMPLETED
    values = hyperparameters_of(record.method)
    remaining = job.progress.get("remaining_seconds")
    return {
        "object": "fine_tuning.job",
        "id": job.job_id,
        "created_at": int(job.created_at),
        "finished_at": int(job.completed_at) if job.completed_at else None,
        "estimated_finish": (
            int(time.time() + remaining)
            if job.status is JobStatus.RUNNING and remaining is not None
            else None
        ),
        "status": STATUSES[job.status].openai,
        "model": record.model,
        "fine_tuned_model": tuned_name(record.model, record.suffix, job.job_id) if done else None,
        "organization_id": OWNER,
        "training_file": record.training_file,
        "validation_file": record.validation_file,
        "result_files": [result_file_id(job.job_id)] if done else [],
        "trained_tokens": job.result.get("total_tokens") if done else None,
        "hyperparameters": values.model_dump(
            include={"n_epochs", "batch_size", "learning_rate_multiplier"}
        ),
        "method": record.method.model_dump(exclude_none=True),
        "seed": record.seed,
        "metadata": record.metadata,
        "integrations": [],
        "error": _error(job),
    }


def _error(job: Job) -> dict[str, Any] | None:
    if job.error is None or job.status is not JobStatus.FAILED:
        return None
    said = f"{job.error.message} {job.error.hint}".strip()
    param = "training_file" if job.error.kind == "dataset" else None
    return {"code": job.error.kind, "message": said, "param": param}


def created_event(job: Job) -> dict[str, Any]:
    """The oldest event."""
    return _event(CREATED, int(job.created_at), f"Created fine-tuning job: {job.job_id}")


def event_object(entry: Entry, job: Job, record: FineTuning) -> dict[str, Any]:
    """``fine_tuning.job.event`` of an entry of the job's stream, one of EVENT_KINDS."""
    at, data = entry.position[0] // 1000, entry.fields["data"]
    if entry.kind == "metric":
        return _of_metric(entry.entry_id, at, Metric.model_validate_json(data), job)
    if entry.kind == "checkpoint":
        step = Checkpoint.model_validate_json(data).step
        name = tuned_name(record.model, record.suffix, job.job_id, step)
        return _event(entry.entry_id, at, f"Checkpoint created at step {step}: {name}")
    told = json.loads(data)
    status = told["status"]
    why = f": {told['error']}" if told.get("error") else ""
    level = _LEVEL_OF.get(status, "info")
    return _event(entry.entry_id, at, f"{_SAID_OF[status]}{why}", level=level)


def _of_metric(entry_id: str, at: int, point: Metric, job: Job) -> dict[str, Any]:
    data = {
        "step": point.step,
        "total_steps": job.progress.get("total_steps"),
        "train_loss": point.train_loss,
        "valid_loss": point.eval_loss,
        "learning_rate": point.learning_rate,
    }
    said = f"Step {point.step}/{data['total_steps'] or '?'}"
    for name, value in (("training", point.train_loss), ("validation", point.eval_loss)):
        said += "" if value is None else f", {name} loss={value:.4f}"
    known = {name: value for name, value in data.items() if value is not None}
    return _event(entry_id, at, said.replace(",", ":", 1), kind="metrics", data=known)


def _event(
    entry_id: str,
    at: int,
    message: str,
    *,
    level: str = "info",
    kind: str = "message",
    data: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{entry_id}",
        "created_at": at,
        "level": level,
        "message": message,
        "type": kind,
        "data": data or {},
    }


def checkpoint_object(stored: StoredCheckpoint, job: Job, record: FineTuning) -> dict[str, Any]:
    """``fine_tuning.job.checkpoint``."""
    of = stored.checkpoint
    metrics = {"step": of.step, "train_loss": of.train_loss, "full_valid_loss": of.eval_loss}
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": f"ftckpt-{job.job_id.removeprefix('ftjob-')}-{of.step}",
        "created_at": int(stored.created_at),
        "fine_tuning_job_id": job.job_id,
        "fine_tuned_model_checkpoint": tuned_name(record.model, record.suffix, job.job_id, of.step),
        "step_number": of.step,
        "metrics": {name: value for name, value in metrics.items() if value is not None},
    }
