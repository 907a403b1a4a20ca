"""What the bridge's routes answer, and the small bodies that some take, as models.

The OpenAPI document is made from them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

from trainyard.contract.errors import ErrorKind, Frame
from trainyard.contract.names import JobStatus
from trainyard.contract.request import FieldProblem


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
    """``slots_out_of_service``: slots that take no jobs, each with its reason."""

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
    """Everything that is known of a job; null where it is not known. Times in seconds."""

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
