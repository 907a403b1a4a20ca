"""What the bridge's routes answer, and the small bodies that some take, as models.

The OpenAPI document is made from them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

from trainyard.contract.errors import ErrorKind, ErrorReport, Frame
from trainyard.contract.names import OCCUPYING, JobStatus
from trainyard.contract.request import FieldProblem
from trainyard.store.event_log import StoredCheckpoint
from trainyard.store.job import Job


class CancelBody(BaseModel):
    """``force``: kill a running job's processes at once."""

    force: StrictBool | None = None


class ResumeBody(BaseModel):
    """``checkpoint_path``: go on from this one, not from the latest."""

    checkpoint_path: StrictStr | None = None


class ErrorAnswer(BaseModel):
    """A refusal: the same sentence under each name that a client may read.

    Some add fields for programs: ``errors`` names every wrong field of a request.
    """

    model_config = ConfigDict(extra="allow")

    success: Annotated[bool, Field(examples=[False])]
    error: str
    message: str
    detail: str
    errors: list[FieldProblem] | None = None


class HealthAnswer(BaseModel):
    """``slots_out_of_service``: slots that take no jobs, each with its reason. 1 GB of
    ``gpu_info`` is 10^9 bytes."""

    status: str
    gpu_available: bool
    gpu_info: list[dict[str, Any]] | None
    active_jobs: int
    queued_jobs: int
    slots: list[str]
    slots_out_of_service: dict[str, str]
    version: str


class StartAnswer(BaseModel):
    """``ignored``: fields of the request that mean nothing to this version."""

    success: bool
    job_id: str
    status: JobStatus
    queue_position: int | None
    ignored: list[str]


class JobAnswer(BaseModel):
    """Everything that is known of a job; null where it is not known. Times in seconds; 1 GB is
    10^9 bytes."""

    job_id: str
    name: str | None
    user_id: str | None
    model_name: str
    dataset_path: str
    method: str
    status: JobStatus
    attempt: int
    slot: str | None
    restarts: int
    queue_position: int | None
    estimated_start_seconds: float | None
    priority: int
    checkpoint: str | None
    parked: bool
    progress: Annotated[float, Field(ge=0, le=100)]
    current_step: int | None
    total_steps: int | None
    current_epoch: float | None
    total_epochs: float | None
    loss: float | None
    best_eval_loss: float | None
    eval_loss: float | None
    learning_rate: float | None
    grad_norm: float | None
    perplexity: float | None
    train_perplexity: float | None
    samples_per_second: float | None
    tokens_per_second: float | None
    gpu_memory_allocated_gb: float | None
    gpu_memory_reserved_gb: float | None
    gpu_utilization_percent: float | None
    elapsed_seconds: float | None
    remaining_seconds: float | None
    created_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime | None
    error: str | None
    error_kind: ErrorKind | None
    error_hint: str | None
    phases: dict[str, float]
    result: dict[str, Any] | None


class JobsAnswer(BaseModel):
    jobs: list[JobAnswer]


class LogsAnswer(BaseModel):
    """``lines_cut``: older lines that are kept no more."""

    job_id: str
    logs: list[str]
    total_lines: int
    lines_cut: int
    offset: int
    limit: int


class MetricsAnswer(BaseModel):
    """Points with the field names of the backend's ``PUT /metrics``."""

    job_id: str
    metrics: list[dict[str, float | int]]


class _Error(BaseModel):
    kind: ErrorKind | None
    message: str | None
    hint: str | None
    exception: str | None
    traceback: list[Frame]


class AttemptErrorAnswer(_Error):
    attempt: int
    at: datetime


class ErrorsAnswer(_Error):
    """Why a job failed; all null where it did not. ``traceback``: the innermost call last."""

    job_id: str
    status: JobStatus
    divergence: dict[str, Any] | None
    attempts: list[AttemptErrorAnswer]


class RunningJob(BaseModel):
    job_id: str
    status: JobStatus
    slot: str


class QueuedJob(BaseModel):
    job_id: str
    queue_position: int
    estimated_start_seconds: float | None


class QueueAnswer(BaseModel):
    running: list[RunningJob]
    queued: list[QueuedJob]
    slots: list[str]


class ControlAnswer(BaseModel):
    """``previous_status``: what the job was before; null where there is no such job."""

    success: bool
    message: str
    job_id: str
    previous_status: JobStatus | None
    checkpoint: str | None
    queue_position: int | None


class ControlRefusal(ErrorAnswer, ControlAnswer):
    """A job that is not there, or is not in a state for what was asked."""


class CheckpointAnswer(BaseModel):
    """``path`` is what resume and the download take."""

    path: str
    epoch: float
    step: int
    eval_loss: float | None
    train_loss: float | None
    size_bytes: int
    created_at: datetime
    is_best: bool
    is_latest: bool


class CheckpointsAnswer(BaseModel):
    job_id: str
    checkpoints: list[CheckpointAnswer]
    best_checkpoint: str | None


_POINT_FIELDS = (
    "eval_loss",
    "learning_rate",
    "grad_norm",
    "perplexity",
    "train_perplexity",
    "samples_per_second",
    "tokens_per_second",
    "gpu_memory_allocated_gb",
    "gpu_memory_reserved_gb",
    "gpu_utilization_percent",
)


def status_view(
    job: Job, queue_position: int | None, starts_in_s: float | None = None
) -> dict[str, Any]:
    """Body of ``GET /api/training/status/{job_id}``. Unknown values are null.

    ``starts_in_s``: estimate for a job that waits.
    """
    step, total = job.progress.get("step"), job.progress.get("total_steps")
    progress = 100.0 if job.status is JobStatus.COMPLETED else _percent(step, total)
    running = job.status in OCCUPYING
    return {
        "job_id": job.job_id,
        "name": job.name or None,
        "user_id": job.user_id or None,
        "model_name": job.model,
        "dataset_path": job.dataset,
        "method": job.method,
        "status": job.status,
        "attempt": job.attempt,
        "slot": job.slot or None,
        "restarts": job.restarts,
        "queue_position": queue_position,
        "estimated_start_seconds": starts_in_s,
        "priority": job.priority,
        "checkpoint": job.checkpoint or None,
        "parked": bool(job.parked),
        "progress": progress,
        "current_step": step,
        "total_steps": total,
        "current_epoch": job.progress.get("epoch"),
        "total_epochs": job.progress.get("total_epochs"),
        "loss": job.point.get("train_loss"),
        "best_eval_loss": job.point.get("best_eval_loss"),
        **{name: job.point.get(name) for name in _POINT_FIELDS},
        "elapsed_seconds": _elapsed(job),
        "remaining_seconds": job.progress.get("remaining_seconds") if running else None,
        "created_at": _iso(job.created_at),
        "started_at": _iso(job.started_at),
        "completed_at": _iso(job.completed_at),
        "updated_at": _iso(job.updated_at),
        "error": job.error.message if job.error else None,
        "error_kind": job.error.kind if job.error else None,
        "error_hint": job.error.hint if job.error else None,
        "phases": dict(job.phases),
        "result": dict(job.result) or None,
    }


def checkpoints_view(written: Iterable[StoredCheckpoint]) -> dict[str, Any]:
    """``checkpoints`` and ``best_checkpoint`` of the checkpoints call, from oldest to newest.

    The best one is the last that was the best when it was written; none where nothing was
    evaluated.
    """
    items = list(written)
    best = next((i.checkpoint.path for i in reversed(items) if i.checkpoint.is_best), None)
    latest = items[-1].checkpoint.path if items else None
    return {
        "checkpoints": [
            {
                "path": item.checkpoint.path,
                "epoch": item.checkpoint.epoch,
                "step": item.checkpoint.step,
                "eval_loss": item.checkpoint.eval_loss,
                "train_loss": item.checkpoint.train_loss,
                "size_bytes": item.checkpoint.size_bytes,
                "created_at": _iso(item.created_at),
                "is_best": item.checkpoint.path == best,
                "is_latest": item.checkpoint.path == latest,
            }
            for item in items
        ],
        "best_checkpoint": best,
    }


def errors_view(job: Job) -> dict[str, Any]:
    """Body of ``GET /api/training/{job_id}/errors``: why it failed, if it did, and each attempt.

    ``kind`` is one of ``contract.ErrorKind``; ``traceback`` has the innermost call last.
    """
    return {
        "job_id": job.job_id,
        "status": job.status,
        **_error_view(job.error),
        "divergence": dict(job.divergence) or None,
        "attempts": [
            {"attempt": error.attempt, "at": _iso(error.at), **_error_view(error)}
            for error in job.attempt_errors
        ],
    }


def _error_view(error: ErrorReport | None) -> dict[str, Any]:
    if error is None:
        return dict.fromkeys(("kind", "message", "hint", "exception")) | {"traceback": []}
    return {
        "kind": error.kind,
        "message": error.message,
        "hint": error.hint,
        "exception": error.exception or None,
        "traceback": [frame.model_dump() for frame in error.frames],
    }


def _percent(step: int | None, total: int | None) -> float:
    return round(100 * step / total, 2) if step and total else 0.0


def _elapsed(job: Job) -> float | None:
    """Seconds in a slot, over all attempts; waiting is none of it."""
    if job.started_at is None:
        return None
    now_s = 0.0 if job.running_since is None else max(0.0, time.time() - job.running_since)
    return round(job.ran_s + now_s, 3)


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
