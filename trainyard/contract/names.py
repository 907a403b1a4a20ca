"""Names of the contract: job ids, queues, streams.

Whatever both sides of a process boundary call by name stands here once.
"""

from __future__ import annotations

import re

from trainyard.contract.error_tree import TrainyardError

JOB_ID_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"
JOB_ID_RULE = "a job id has 1 to 128 letters, digits, '.', '_' or '-' and starts with no dot"
LOG_LINES_PER_BATCH = 100
"""Lines in one log entry of the event stream, and so in one POST to the backend."""

PREDICTION_CHARACTERS_MAX = 2000
"""Of a prompt, and of what the model says to it, no more goes into the event stream."""

UPLOADS, UPLOAD_PATTERN = "files", r"file-[0-9a-f]{24}"
"""Folder below TRAINYARD_HOME, and the names of the folders in it: one a file that was uploaded to
the bridge, with its rows in UPLOADED_ROWS."""
UPLOADED_ROWS = "rows.jsonl"
_UPLOADED_DATA = re.compile(f"{UPLOAD_PATTERN}/{re.escape(UPLOADED_ROWS)}")

PRIORITY_DEFAULT, PRIORITY_LAST = 5, 9
"""Priorities of a request: 0 runs first."""

BROKER_PREFIX = "trainyard."
"""Before every key and channel of our own Celery, so that another one in the database has its own.
Requests from outside come without it."""

TASK_TRAIN = "tasks.train"
TASK_GENERATE = "tasks.generate"
QUEUE_GPU = "gpu"
TASK_SUBMIT = "tasks.submit"
QUEUE_REQUESTS = "requests"
"""Where a Celery client asks for something; see ``celery_requests``."""


class ContractError(TrainyardError):
    """Base of the errors that the contract raises."""


def is_upload(dataset_path: str) -> bool:
    """Whether a data set is one that was uploaded: its name, which none can guess, opens it."""
    return _UPLOADED_DATA.fullmatch(dataset_path) is not None


def attempt_id(job_id: str, attempt: int) -> str:
    """Name of one run of a job; also its Celery task id."""
    return f"{job_id}:{attempt}"


def parse_attempt_id(value: str) -> tuple[str, int]:
    """Split ``{job_id}:{attempt}``; raises ContractError if it is not one."""
    job_id, _, number = value.rpartition(":")
    if not re.fullmatch(JOB_ID_PATTERN, job_id) or not re.fullmatch("[1-9][0-9]{0,8}", number):
        raise ContractError(f"not an attempt id: {value[:200]!r}")
    return job_id, int(number)


REQUESTS, REPLIES, REJECTED = "training:requests", "training:replies", "training:rejected"
