"""Reference to another job in the place of a model's name: its result, or one of its checkpoints.

``job:ID`` or ``job:ID@checkpoint-N``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trainyard.contract.job_folder import checkpoint_path
from trainyard.contract.names import JOB_ID_PATTERN, JOB_ID_RULE

PREFIX = "job:"


@dataclass(frozen=True)
class JobReference:
    """The job, and the checkpoint (relative to its folder); None: its result."""

    job_id: str
    checkpoint: str | None


def job_reference(name: str) -> JobReference | None:
    """What the model's ``name`` refers to; None if it is of no job. Raises ValueError."""
    if not name.startswith(PREFIX):
        return None
    job_id, at, named = name.removeprefix(PREFIX).partition("@")
    if not re.fullmatch(JOB_ID_PATTERN, job_id):
        raise ValueError(f"a job's result is named as job:ID, and {JOB_ID_RULE}")
    checkpoint = checkpoint_path(named) if at else None
    if at and checkpoint is None:
        raise ValueError("a job's checkpoint is named as job:ID@checkpoint-N")
    return JobReference(job_id, checkpoint)
