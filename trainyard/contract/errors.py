"""Error reports: kinds of failure for programs, a sentence and a hint for people."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel


class ErrorKind(StrEnum):
    """Why a job failed, for programs; the sentence for people stands beside it."""

    OUT_OF_MEMORY = "out_of_memory"
    DATASET = "dataset"
    CONFIGURATION = "configuration"
    MODEL_NOT_FOUND = "model_not_found"
    GATED_MODEL = "gated_model"
    MODEL = "model"
    DISK_FULL = "disk_full"
    WORKER_LOST = "worker_lost"
    DEVICE = "device"
    HANG = "hang"
    TIME_LIMIT = "time_limit"
    DIVERGED = "diverged"
    RESULT = "result"
    AWAITED_JOB = "awaited_job"
    INTERNAL = "internal"


ERROR_HINTS = {
    ErrorKind.OUT_OF_MEMORY: "Lower training.batch_size (and raise gradient_accumulation_steps by "
    "the same factor), lower training.max_length, switch gradient_checkpointing on, or train with "
    "LoRA.",
    ErrorKind.DATASET: "Check the file's rows and columns: trainyard check-dataset names them.",
    ErrorKind.CONFIGURATION: "Change what the sentence names in the request, and send it again.",
    ErrorKind.MODEL_NOT_FOUND: "Check config.model.name and config.model.revision; a folder must "
    "lie under MODEL_ROOTS.",
    ErrorKind.GATED_MODEL: "Accept the model's licence at the hub and set HF_TOKEN where the "
    "worker is started.",
    ErrorKind.MODEL: "Copy or download the model's files again, or put its folder under "
    "MODEL_ROOTS.",
    ErrorKind.DISK_FULL: "Free space under TRAINYARD_HOME, or lower training.save_total_limit; "
    "earlier checkpoints are intact.",
    ErrorKind.WORKER_LOST: "Look at the end of the job's log, and at the worker's memory. "
    "MAX_RESTARTS sets how often a lost job is started again.",
    ErrorKind.DEVICE: "Nothing is wrong with the job: it waits for a slot whose GPU can be used. "
    "`trainyard doctor` names the slot's trouble.",
    ErrorKind.HANG: "The job's log shows where its threads stood. HANG_SECONDS sets how long a "
    "step may take.",
    ErrorKind.TIME_LIMIT: "Train on less, or raise START_TIMEOUT or MAX_JOB_HOURS where the worker "
    "is started; earlier checkpoints are intact.",
    ErrorKind.DIVERGED: "Lower training.learning_rate, raise warmup_steps, or set max_grad_norm to "
    "1; earlier checkpoints are intact.",
    ErrorKind.RESULT: "The job's log holds what differs; its files and checkpoints are kept.",
    ErrorKind.AWAITED_JOB: "Mend the job that it names and queue both again with `trainyard "
    "force-start`; by itself it starts without waiting.",
    ErrorKind.INTERNAL: "The job's log holds the full traceback.",
}
"""What to do about an error of a kind, if the error itself knows nothing better."""


class Frame(BaseModel):
    """One frame of a traceback."""

    file: str
    line: int
    function: str
    code: str = ""


class ErrorReport(BaseModel):
    """A failure as a person can act on it: a kind, one sentence, a hint, the frames."""

    kind: ErrorKind
    message: str
    hint: str = ""
    exception: str = ""
    frames: list[Frame] = []


class AttemptError(ErrorReport):
    """The error that ended one attempt; ``at`` is a UNIX time."""

    attempt: int
    at: float
