"""Routes of the jobs: start one, read them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import to_json

from backend_bridge.api.context import ThisBridge
from backend_bridge.api.error_responses import error_answers
from backend_bridge.api.openapi import START_BODY
from backend_bridge.api.request_body import json_body
from backend_bridge.api.responses import (
    ErrorsAnswer,
    JobAnswer,
    JobsAnswer,
    LogsAnswer,
    MetricsAnswer,
    QueueAnswer,
    StartAnswer,
)
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.estimate import estimate_now
from trainyard.store.job import Job

LOG_LINES_MAX = 100_000
CURSOR_PATTERN = r"^\d{1,15}:[A-Za-z0-9._-]{1,128}$"


router = APIRouter(tags=["jobs"])


@router.post(
    "/api/training/execute",
    responses=error_answers(400, 409, 413, 422),
    openapi_extra=START_BODY,
)
async def execute(bridge: ThisBridge, request: Request) -> StartAnswer:
    """Admit a job: validate, count, store, enqueue. The same request again is the same job.

    409 if the job id belongs to another request or the job limit is reached, 422 with
    every wrong field, 413 past the size limit, 400 for a body that is no JSON.
    """
    body = await json_body(request, bridge.settings.max_request_mb)
    admitted = await run_in_threadpool(bridge.admission.admit, body)
    return StartAnswer(success=True, **vars(admitted))


@router.get("/api/training/status/{job_id}", responses=error_answers(404))
def status(bridge: ThisBridge, job_id: str) -> JobAnswer:
    """Everything that is known of one job; what is not known is null."""
    job, position = bridge.job_in_queue(job_id)
    (reason,) = bridge.waiting_reasons([job])
    return JobAnswer.of(job, position, reason, bridge.starts_in_s(position))


@router.get("/api/training/logs/{job_id}", responses=error_answers(404, 422))
def logs(
    bridge: ThisBridge,
    job_id: str,
    limit: Annotated[int, Query(ge=0, le=LOG_LINES_MAX)] = 100,
    offset: int = 0,
) -> LogsAnswer:
    """Log lines, the same strings that the backend gets; a negative offset is from the end."""
    bridge.job(job_id)
    page = bridge.events.logs(job_id, limit=limit, offset=offset)
    return LogsAnswer.of(job_id, page, limit)


@router.get("/api/training/metrics/{job_id}", responses=error_answers(404))
def metrics(bridge: ThisBridge, job_id: str) -> MetricsAnswer:
    """Every metric point of the job, oldest first."""
    bridge.job(job_id)
    return MetricsAnswer(job_id=job_id, metrics=bridge.events.metrics(job_id))


@router.get("/api/training/{job_id}/errors", responses=error_answers(404))
def errors(bridge: ThisBridge, job_id: str) -> ErrorsAnswer:
    """Why the job failed: kind, sentence, hint, traceback; the errors of all its attempts."""
    return ErrorsAnswer.of(bridge.job(job_id))


def _no_number(value: str | None) -> str | None:
    """``value``: pydantic would take ``0.5`` for seconds since 1970, and large ones for ms."""
    if value is not None and value.replace(".", "", 1).lstrip("+-").isdigit():
        raise ValueError("is a number: give a time such as 2026-01-31T12:00:00Z")
    return value


@router.get("/api/training/jobs", responses=error_answers(422))
def jobs(
    bridge: ThisBridge,
    status: Annotated[list[JobStatus] | None, Query()] = None,
    user_id: str | None = None,
    since: Annotated[AwareDatetime | None, BeforeValidator(_no_number)] = None,
    limit: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    cursor: Annotated[str | None, Query(pattern=CURSOR_PATTERN)] = None,
) -> JobsAnswer:
    """Jobs, newest first: all, or those of some statuses, of a user, made since a time.

    With ``limit`` so many; ``next_cursor`` of the answer then asks for the ones after them.
    """

    def wanted(job: Job) -> bool:
        return (
            (not status or job.status in status)
            and (user_id is None or job.user_id == user_id)
            and (since is None or job.created_at >= since.timestamp())
        )

    found, after = bridge.store.newest(wanted, limit, cursor)
    positions = bridge.store.queue_positions([job.job_id for job in found])
    reasons = bridge.waiting_reasons(found)
    return JobsAnswer(jobs=list(map(JobAnswer.of, found, positions, reasons)), next_cursor=after)


@router.get(
    "/api/training/queue",
    response_model=QueueAnswer,
    responses=error_answers(),
)
def queue(bridge: ThisBridge) -> Response:
    """What runs, and what waits with its position."""
    running = bridge.store.jobs(bridge.store.occupying())
    waiting = bridge.store.waiting()
    slots = bridge.slots.names_alive()
    starts = estimate_now(bridge.store, slots).first(len(waiting))
    body = {
        "running": [
            {"job_id": job.job_id, "status": job.status, "slot": job.slot} for job in running
        ],
        "queued": [
            {"job_id": job_id, "queue_position": i, "estimated_start_seconds": start}
            for i, (job_id, start) in enumerate(zip(waiting, starts, strict=True), start=1)
        ],
        "slots": slots,
    }
    # Ten thousand waiting jobs are validated one by one otherwise, on the way out.
    return Response(to_json(body), media_type="application/json")
