"""Page of the kinds of errors, docs/errors.md; their hints stand in the contract."""

from __future__ import annotations

from trainyard.contract.errors import ERROR_HINTS, ErrorKind

_MEANINGS = {
    ErrorKind.OUT_OF_MEMORY: "The GPU's or the machine's memory was full: an error of CUDA or of "
    "Python, or the kernel killed the training.",
    ErrorKind.DATASET: "The data set is missing, cannot be read, or lacks what the method needs.",
    ErrorKind.CONFIGURATION: "The request asks for what cannot be done here, or not at all.",
    ErrorKind.MODEL_NOT_FOUND: "Neither a folder under `MODEL_ROOTS` nor the hub has the model.",
    ErrorKind.GATED_MODEL: "The hub wants the model's licence accepted first.",
    ErrorKind.MODEL: "The model or its tokenizer is refused or cannot be loaded.",
    ErrorKind.DISK_FULL: "A file could not be written: no space, or a quota is used up.",
    ErrorKind.WORKER_LOST: "The training, its supervisor or the worker was killed or cut off, "
    "each time that it was started.",
    ErrorKind.DEVICE: "The slot should have a GPU and torch could not use it, time and again; the "
    "slot is out of service.",
    ErrorKind.HANG: "The training made no step any more, each time that it was started.",
    ErrorKind.TIME_LIMIT: "The job took longer than the worker or its request allows.",
    ErrorKind.DIVERGED: "The loss, the gradient norm or a trained weight was NaN or infinite "
    "(`stop_on_nan`).",
    ErrorKind.RESULT: "The saved model, loaded again, is not what was trained (`verify_result`).",
    ErrorKind.AWAITED_JOB: "It was to run after another job (`after`), which did not complete.",
    ErrorKind.INTERNAL: "Anything else: most likely a defect, or a library's error.",
}

_HEAD = """# Why a job failed

The backend hears one sentence (`error`). The bridge knows more: `trainyard status` and
`GET /api/training/status/{job_id}` show `error_kind` and `error_hint`;
`GET /api/training/{job_id}/errors` has the kind, the sentence, the hint, the frames of the
traceback, and the error of each attempt that a restart followed. The job's log has the traceback
as Python prints it, unless a data set, a model or a setting of the request is at fault, which the
sentence says in full.

An error that knows better brings a hint of its own.

| kind | what happened | what to do |
|---|---|---|
"""


def as_markdown() -> str:
    """The page, with a row for every kind. Raises KeyError for a kind without one."""
    rows = (f"| `{kind}` | {_MEANINGS[kind]} | {ERROR_HINTS[kind]} |" for kind in ErrorKind)
    return _HEAD + "\n".join(rows) + "\n"
