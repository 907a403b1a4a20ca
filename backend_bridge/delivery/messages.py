"""Messages: what goes to the backend, one request each, read from a job's event stream.

A message follows from its entry and the job's stored progress only: a retry, by whichever sender,
has the same body under the same key, ``{job}:{attempt}:{sequence}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from trainyard.contract.backend_routes import Endpoint
from trainyard.contract.events import EVENT_KINDS, LaneName, Prediction
from trainyard.contract.statuses import TERMINAL, BackendStatus, JobStatus
from trainyard.store.event_log import Entry
from trainyard.store.job import Job

LANE_OF_KIND = {name: kind.lane for name, kind in EVENT_KINDS.items() if kind.lane}
"""Lanes of the kinds that the backend hears; others are for readers of the stream."""

ENDPOINT_OF_LANE: dict[LaneName, Endpoint] = {
    "status": "status",
    "metric": "metrics",
    "log": "logs",
    "prediction": "predictions",
}


NO_ENTRY = Entry("", {})
"""What the job's row is of."""


@dataclass(frozen=True)
class BackendMessage:
    """One request. ``problem``: why it cannot be made.

    ``to``: the last entry that it ends, "" if ``entry`` needs another one; ``entries``: how many.
    ``next_line``: number of the log line after its last, within its entry if that is sent again.
    ``is_new``: what it holds was chosen now, and is stored before it is made: no try has arrived.
    """

    endpoint: Endpoint
    key: str
    body: Mapping[str, Any]
    entry: Entry = NO_ENTRY
    to: str = ""
    entries: int = 1
    next_line: int = 0
    is_new: bool = False
    problem: str = ""


class _StatusData(BaseModel):
    status: BackendStatus
    error: str | None = None


def key_of(job_id: str, entry: Entry) -> str:
    """The Idempotency-Key of an entry's request."""
    return f"{job_id}:{entry.fields['attempt']}:{entry.fields['sequence']}"


def status_message(job_id: str, entry: Entry, ended_attempt: int) -> BackendMessage:
    """``PATCH .../status``. Raises ValueError or KeyError if it is none, as do the others."""
    told = _StatusData.model_validate_json(entry.fields["data"]).model_dump(exclude_none=True)
    # Attempt 0 is a refused request: it ends nothing, and nothing has ended before it.
    is_late = 0 < int(entry.fields["attempt"]) <= ended_attempt
    problem = "a status after the attempt's terminal one" if is_late else ""
    key = key_of(job_id, entry)
    return BackendMessage("status", key, told, entry, entry.entry_id, problem=problem)


def prediction_message(job_id: str, user_id: str, entry: Entry) -> BackendMessage:
    """``POST /predictions`` with one of them."""
    said = Prediction.model_validate_json(entry.fields["data"]).to_backend()
    whose = {"job_id": job_id} | ({"user_id": user_id} if user_id else {})
    body = {"job_id": job_id, "predictions": [whose | said]}
    return BackendMessage("predictions", key_of(job_id, entry), body, entry, entry.entry_id)


def row_message(job: Job, status: str, now_ms: int) -> BackendMessage:
    """``POST /jobs``: totals, times, best values and the reason of a job, as far as they are known.

    ``status``: the last that the backend has taken: the row overtakes none. Times are ISO 8601 in
    UTC, ``progress`` is in percent.
    """
    step, total = job.progress.get("step"), job.progress.get("total_steps")
    completed = status == JobStatus.COMPLETED
    row = {
        "batch_size": job.batch_size or None,
        "total_epochs": _whole(job.progress.get("total_epochs")),
        "total_steps": total,
        "current_step": step,
        "progress": 100 if completed else round(100 * step / total, 2) if step and total else None,
        "started_at": _iso(job.started_at),
        "best_eval_loss": job.point.get("best_eval_loss"),
        "best_epoch": _whole(job.point.get("best_epoch")),
        "best_step": job.point.get("best_step"),
    }
    if status in TERMINAL and job.status == status:
        train, val = job.result.get("train_rows"), job.result.get("eval_rows")
        row |= {
            "completed_at": _iso(job.completed_at),
            "final_loss": job.point.get("train_loss"),
            "final_eval_loss": job.point.get("eval_loss"),
            "train_samples": train,
            "val_samples": val,
            "total_samples": None if train is None else train + (val or 0),
            "total_tokens_processed": job.result.get("total_tokens"),
            "error_message": job.error and job.error.message,
        }
    known = {name: value for name, value in row.items() if value is not None}
    whose = {"job_id": job.job_id, "user_id": job.user_id, "status": status}
    return BackendMessage("row", f"{job.attempt_id}:row-{now_ms}", whose | known)


def _whole(epochs: float | None) -> int | None:
    """As in a point: the backend counts whole epochs."""
    return None if epochs is None else int(epochs)


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
