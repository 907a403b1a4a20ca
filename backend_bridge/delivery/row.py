"""Row of a job at the backend: totals, times, best values and the reason, as far as it takes them.

It is told after each status, and at most every ``row_s`` while metrics arrive. Its status is the
last one that the backend has taken: it overtakes none.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from backend_bridge.delivery.backend_client import AccessRefused, Answer, Delivered, TryAgain
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from trainyard.contract.statuses import TERMINAL, JobStatus
from trainyard.store.delivery_state import DeliveryProgress
from trainyard.store.job import Job

TRIES_IN_AN_OUTAGE = 500
"""Some two hours; then it is not told any more."""
TRIES = 20
"""So often in a row 401 or 404 mean that the route is missing, whatever else is accepted."""


def row_of(job: Job, status: str) -> dict[str, Any]:
    """Known fields of ``POST /jobs``. Times are ISO 8601 in UTC, ``progress`` is in percent."""
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
    return {"job_id": job.job_id, "user_id": job.user_id, "status": status, **known}


def acknowledge_row(
    progress: DeliveryProgress, answer: Answer, now_ms: int, policy: DeliveryPolicy
) -> bool:
    """Note what ``answer`` means; True if the backend lacks the route."""
    lane = progress.row.lane
    match answer:
        case Delivered():
            lane.accepted()
            lane.due_ms = now_ms + int(1000 * policy.row_s)
        case TryAgain(_, retry_after_s) if lane.failures < TRIES_IN_AN_OUTAGE:
            lane.failures += 1
            lane.due_ms = now_ms + int(1000 * policy.backoff_s(lane.failures, retry_after_s))
            return False
        case AccessRefused() if lane.refusal != "doubted" and lane.failures < TRIES:
            lane.failures, lane.refusal = lane.failures + 1, "refused"
            lane.due_ms = now_ms + int(1000 * policy.backoff_s(lane.failures, None))
            return False
        case _:
            lane.accepted()
    progress.row.wanted = False
    return not isinstance(answer, Delivered | TryAgain)


def _whole(epochs: float | None) -> int | None:
    """As in a point: the backend counts whole epochs."""
    return None if epochs is None else int(epochs)


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
