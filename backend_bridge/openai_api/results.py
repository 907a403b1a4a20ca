"""Result files of fine-tunings: the metrics of a job that succeeded, as a table.

None is stored: each is made of the job's own record when somebody asks for it.
"""

from __future__ import annotations

import csv
import io
from typing import Any

from backend_bridge.openai_api.job_objects import result_file_id
from backend_bridge.openai_api.job_records import JOB_PREFIX
from trainyard.store.event_log import EventLog
from trainyard.store.job import Job

PURPOSE = "fine-tune-results"
_COLUMNS = {
    "step": "step",
    "epoch": "epoch",
    "train_loss": "train_loss",
    "valid_loss": "eval_loss",
    "learning_rate": "learning_rate",
}


def job_of(file_id: str) -> str | None:
    """The job whose results are meant; None if the id is of another file."""
    is_result = file_id.startswith(result_file_id(JOB_PREFIX))
    return file_id.removeprefix(result_file_id("")) if is_result else None


def table(events: EventLog, job: Job) -> bytes:
    """One row for each point, in the order of steps."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for point in events.metrics(job.job_id)[0]:
        writer.writerow([point.get(name, "") for name in _COLUMNS.values()])
    return text.getvalue().encode()


def result_object(events: EventLog, job: Job) -> dict[str, Any]:
    """``file`` of a job's results."""
    return {
        "object": "file",
        "id": result_file_id(job.job_id),
        "bytes": len(table(events, job)),
        "created_at": int(job.completed_at or job.updated_at),
        "filename": "step_metrics.csv",
        "purpose": PURPOSE,
        "status": "processed",
    }
