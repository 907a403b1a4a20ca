"""Route of the queue: what runs, what waits for its turn, what is held back."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel
from pydantic_core import to_json

from backend_bridge.api.context import ThisBridge
from backend_bridge.api.error_responses import error_answers
from trainyard.contract.statuses import JobStatus
from trainyard.store.queueing.holds import held_for

router = APIRouter(tags=["jobs"])


class RunningJob(BaseModel):
    job_id: str
    status: JobStatus
    slot: str


class QueuedJob(BaseModel):
    job_id: str
    queue_position: int
    estimated_start_seconds: float | None


class HeldJob(BaseModel):
    job_id: str
    waiting_reason: str


class QueueAnswer(BaseModel):
    """``held``: queued, but not to run yet, in nobody's way."""

    running: list[RunningJob]
    queued: list[QueuedJob]
    held: list[HeldJob]
    slots: list[str]


@router.get(
    "/api/training/queue",
    response_model=QueueAnswer,
    responses=error_answers(),
)
def queue(bridge: ThisBridge) -> Response:
    """What runs, what waits with its position, and what is held back."""
    running = bridge.store.jobs(bridge.store.occupying())
    waiting = bridge.store.waiting()
    slots = bridge.slots.names_alive()
    starts = bridge.estimate(slots).first(len(waiting))
    body = {
        "running": [
            {"job_id": job.job_id, "status": job.status, "slot": job.slot} for job in running
        ],
        "queued": [
            {"job_id": job_id, "queue_position": i, "estimated_start_seconds": start}
            for i, (job_id, start) in enumerate(zip(waiting, starts, strict=True), start=1)
        ],
        "held": [
            {"job_id": job.job_id, "waiting_reason": held_for(job)}
            for job in bridge.store.jobs(bridge.store.held())
        ],
        "slots": slots,
    }
    # Ten thousand waiting jobs are validated one by one otherwise, on the way out.
    return Response(to_json(body), media_type="application/json")
