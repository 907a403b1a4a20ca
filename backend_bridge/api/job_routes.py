"""Routes of the jobs: start one, read them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

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
    StartAnswer,
)
from trainyard.contract.fields.holds import Instant
from trainyard.contract.statuses import JobStatus
from trainyard.store.job import Job

LOG_LINES_MAX = 100_000
POINT_CURSOR_PATTERN = r"^[0-9]{1,15}-[0-9]{1,10}$"
CURSOR_PATTERN = r"^[0-9]{1,15}:[A-Za-z0-9._-]{1,128}$"


router = APIRouter(tags=["jobs"])


@router.post(
    "/api/training/execute",
    responses=error_answers(400, 409, 413, 422),
    openapi_extra=START_BODY,
)
async def execute(bridge: ThisBridge, request: Request) -> StartAnswer:
    """Admit a job: validate, count, store, enqueue. The same request again is the same job.

    With ``sweep`` a group of jobs, all or none: `{id}-1`, `{id}-2` and so on, each with the
    request's token.

    409 if the job id belongs to another request or the job limit is reached, 422 with
    every wrong field, 413 past the size limit, 400 for a body that is no JSON.
    """
    body = await json_body(request, bridge.settings.max_request_mb)
    admitted = await run_in_threadpool(bridge.admission.admit, body)
    return StartAnswer(success=True, **vars(admitted))


@router.get(
    "/api/training/status/{job_id}",
    response_model=JobAnswer,
    responses=error_answers(404),
)
def status(bridge: ThisBridge, job_id: str) -> Response:
    """Everything that is known of one job; what is not known is null."""
    job, position = bridge.job_in_queue(job_id)
    answer = JobAnswer.of(job, position, *bridge.outlook(job, position), bridge.prices)
    # Asked twice a second by whoever waits; FastAPI would check it again, in another thread.
    return Response(answer.model_dump_json(), media_type="application/json")


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


@router.get("/api/training/metrics/{job_id}", responses=error_answers(404, 422))
def metrics(
    bridge: ThisBridge,
    job_id: str,
    limit: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    cursor: Annotated[str | None, Query(pattern=POINT_CURSOR_PATTERN)] = None,
) -> MetricsAnswer:
    """Every metric point of the job, oldest first.

    With ``limit`` so many; ``next_cursor`` of the answer then asks for the ones after them.
    """
    bridge.job(job_id)
    points, after = bridge.events.metrics(job_id, limit, cursor or "")
    return MetricsAnswer(job_id=job_id, metrics=points, next_cursor=after)


@router.get("/api/training/{job_id}/errors", responses=error_answers(404))
def errors(bridge: ThisBridge, job_id: str) -> ErrorsAnswer:
    """Why the job failed: kind, sentence, hint, traceback; the errors of all its attempts."""
    return ErrorsAnswer.of(bridge.job(job_id))


@router.get("/api/training/jobs", responses=error_answers(422))
def jobs(
    bridge: ThisBridge,
    status: Annotated[list[JobStatus] | None, Query()] = None,
    user_id: str | None = None,
    group: str | None = None,
    since: Instant | None = None,
    limit: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    cursor: Annotated[str | None, Query(pattern=CURSOR_PATTERN)] = None,
) -> JobsAnswer:
    """Jobs, newest first: all, or those of some statuses, of a user, of a sweep, made since a time.

    With ``limit`` so many; ``next_cursor`` of the answer then asks for the ones after them.
    """

    def wanted(job: Job) -> bool:
        return (
            (not status or job.status in status)
            and (user_id is None or job.user_id == user_id)
            and (group is None or job.group == group)
            and (since is None or job.created_at >= since.timestamp())
        )

    found, after = bridge.store.newest(wanted, limit, cursor)
    positions = bridge.store.queue_positions([job.job_id for job in found])
    reasons = bridge.waiting_reasons(found)
    told = [
        JobAnswer.of(job, position, reason, prices=bridge.prices)
        for job, position, reason in zip(found, positions, reasons, strict=True)
    ]
    return JobsAnswer(jobs=told, next_cursor=after)
