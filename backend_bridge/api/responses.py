"""Response models of the bridge, each built once, from what it tells of.

The OpenAPI document is made from them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from backend_bridge.api.usage.answers import UsageFigures
from trainyard.contract.errors import AttemptError, ErrorKind, ErrorReport, Frame
from trainyard.contract.events import Metric
from trainyard.contract.statuses import OCCUPYING, JobStatus
from trainyard.contract.usage.used import NO_PRICES, Prices
from trainyard.contract.verdicts import Verdict
from trainyard.store.event_log import LogPage, StoredCheckpoint
from trainyard.store.job import Job


class StartAnswer(BaseModel):
    """``ignored``: fields that mean nothing to this version. ``is_new``: no such request before.
    ``jobs``: the ids of a sweep's jobs; ``job_id`` is then the group's."""

    success: bool
    job_id: str
    status: JobStatus
    queue_position: int | None
    ignored: list[str]
    is_new: bool
    jobs: list[str]


class JobAnswer(BaseModel):
    """Everything known of a job, else null, or 0 of what counts up. Seconds; GB of 10^9 bytes.

    ``group``: the sweep that made it; ``settings``: what it alone has of that."""

    job_id: str
    name: str | None
    group: str | None
    settings: dict[str, Any]
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
    waiting_reason: str | None
    priority: int
    checkpoint: str | None
    parked: bool
    progress: Annotated[float, Field(ge=0, le=100)]
    current_step: int
    total_steps: int
    current_epoch: float
    total_epochs: float
    loss: float | None
    best_eval_loss: float | None
    best_step: int | None
    eval_loss: float | None
    start_eval_loss: float | None = None
    learning_rate: float | None
    grad_norm: float | None
    perplexity: float | None
    train_perplexity: float | None
    samples_per_second: float | None
    tokens_per_second: float | None
    gpu_memory_allocated_gb: float | None
    gpu_memory_reserved_gb: float | None
    gpu_utilization_percent: float | None
    elapsed_seconds: float
    remaining_seconds: float | None
    created_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime | None
    error: str | None
    error_kind: ErrorKind | None
    error_hint: str | None
    phases: dict[str, float]
    warnings: list[Verdict]
    result: dict[str, Any] | None
    usage: UsageFigures

    @classmethod
    def of(
        cls,
        job: Job,
        queue_position: int | None,
        waiting_reason: str | None = None,
        starts_in_s: float | None = None,
        prices: Prices = NO_PRICES,
    ) -> Self:
        """Fields of one name are told as they are, an empty text as null.

        Of a job that waits: ``waiting_reason`` for more than its turn, ``starts_in_s`` an estimate.
        """
        step, total = job.progress.get("step"), job.progress.get("total_steps")
        used = job.used(time.time())
        left_s = job.progress.get("remaining_seconds")
        moves = job.made_way or job.slips_before
        values = {**dict.fromkeys(_METRICS), **job.point, **vars(job)}
        values |= {name: values[name] or None for name in _TEXTS}
        values |= {
            "model_name": job.model,
            "dataset_path": job.dataset,
            "queue_position": queue_position,
            "waiting_reason": waiting_reason,
            "estimated_start_seconds": starts_in_s if moves or not waiting_reason else None,
            "parked": bool(job.parked),
            "progress": 100 if job.status is JobStatus.COMPLETED else _percent(step, total),
            "current_step": step or 0,
            "total_steps": total or 0,
            "current_epoch": job.progress.get("epoch") or 0.0,
            "total_epochs": job.progress.get("total_epochs") or 0.0,
            "loss": job.point.get("train_loss"),
            "best_eval_loss": job.point.get("best_eval_loss"),
            "best_step": job.point.get("best_step"),
            "elapsed_seconds": round(used.slot_s, 3),
            "remaining_seconds": left_s if job.status in OCCUPYING else None,
            "error": job.error and job.error.message,
            "error_kind": job.error and job.error.kind,
            "error_hint": job.error and job.error.hint,
            "result": job.result or None,
            "usage": UsageFigures.of(used, prices),
        }
        return cls(**values)


_TEXTS = ("name", "group", "user_id", "slot", "checkpoint")
_METRICS = JobAnswer.model_fields.keys() & Metric.model_fields.keys()
"""Fields of a job that are the latest value of the metric of that name."""


class JobsAnswer(BaseModel):
    jobs: list[JobAnswer]
    next_cursor: str | None


class LogsAnswer(BaseModel):
    """``lines_cut``: older lines that are kept no more."""

    job_id: str
    logs: list[str]
    total_lines: int
    lines_cut: int
    offset: int
    limit: int

    @classmethod
    def of(cls, job_id: str, page: LogPage, limit: int) -> Self:
        return cls(
            job_id=job_id,
            logs=page.lines,
            total_lines=page.total_lines,
            lines_cut=page.lines_cut,
            offset=page.offset,
            limit=limit,
        )


class MetricsAnswer(BaseModel):
    """Points with the field names of the backend's ``PUT /metrics``."""

    job_id: str
    metrics: list[dict[str, float | int]]
    next_cursor: str | None


class _Error(BaseModel):
    kind: ErrorKind | None
    message: str | None
    hint: str | None
    exception: str | None
    traceback: list[Frame]

    @classmethod
    def _of(cls, error: ErrorReport | None, **more: Any) -> Self:
        return cls(
            kind=error.kind if error else None,
            message=error.message if error else None,
            hint=error.hint if error else None,
            exception=(error.exception or None) if error else None,
            traceback=error.frames if error else [],
            **more,
        )


class AttemptErrorAnswer(_Error):
    attempt: int
    at: datetime

    @classmethod
    def of(cls, error: AttemptError) -> Self:
        return cls._of(error, attempt=error.attempt, at=error.at)


class ErrorsAnswer(_Error):
    """Why a job failed; all null if it did not. ``traceback``: the innermost call last."""

    job_id: str
    status: JobStatus
    divergence: dict[str, Any] | None
    attempts: list[AttemptErrorAnswer]

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls._of(
            job.error,
            job_id=job.job_id,
            status=job.status,
            divergence=dict(job.divergence) or None,
            attempts=[AttemptErrorAnswer.of(error) for error in job.attempt_errors],
        )


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

    @classmethod
    def of(cls, job_id: str, stored: Sequence[StoredCheckpoint]) -> Self:
        """``stored``: from oldest to newest.

        The best one is the last that was the best when it was written; none if nothing was
        evaluated.
        """
        written = [item.checkpoint for item in stored]
        best = next((c.path for c in reversed(written) if c.is_best), None)
        latest = written[-1].path if written else None
        told = [
            vars(item.checkpoint)
            | {
                "created_at": item.created_at,
                "is_best": item.checkpoint.path == best,
                "is_latest": item.checkpoint.path == latest,
            }
            for item in stored
        ]
        answers = [CheckpointAnswer(**values) for values in told]
        return cls(job_id=job_id, checkpoints=answers, best_checkpoint=best)


def _percent(step: int | None, total: int | None) -> float:
    return round(100 * step / total, 2) if step and total else 0.0
