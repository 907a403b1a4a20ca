"""Routes that act on jobs: cancel, pause, resume, force-start, remove.

Each but the last answers ``success`` and ``message``: 200, 404 (no such job) or 409 (not now).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from backend_bridge.api.context import ThisBridge
from backend_bridge.api.error_responses import ErrorAnswer, error_answers, error_body
from backend_bridge.api.openapi import CANCEL_BODY, RESUME_BODY
from backend_bridge.api.request_body import CancelBody, ResumeBody, optional_body
from backend_bridge.intake.job_control import ControlResult
from trainyard.contract.statuses import JobStatus
from trainyard.store.retention import CannotRemove, Retention


class ControlAnswer(BaseModel):
    """``previous_status``: what the job was before; null if there is no such job."""

    success: bool
    message: str
    job_id: str
    previous_status: JobStatus | None
    checkpoint: str | None
    queue_position: int | None


class ControlRefusal(ErrorAnswer, ControlAnswer):
    """A job that is not there, or is not in a state for what was asked."""


router = APIRouter(tags=["control"])
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ControlAnswer, "description": "It takes effect."},
    **error_answers(),
    404: {"model": ControlRefusal, "description": "There is no such job."},
    409: {"model": ControlRefusal, "description": "The job is not in a state for this."},
}
_OF_A_BODY = error_answers(400, 413, 422)


@router.post(
    "/api/training/cancel/{job_id}",
    responses={**_OF_A_BODY, **_ANSWERS},
    openapi_extra=CANCEL_BODY,
)
async def cancel(bridge: ThisBridge, job_id: str, request: Request) -> JSONResponse:
    """Cancel a job. An optional body ``{"force": true}`` kills a running one at once."""
    body = await optional_body(request, CancelBody)
    force = body.force is True
    return await _act(job_id, lambda: bridge.control.cancel(job_id, force=force))


@router.post("/api/training/pause/{job_id}", responses=_ANSWERS)
async def pause(bridge: ThisBridge, job_id: str) -> JSONResponse:
    """Pause a job: it is `pausing` until its checkpoint is proven good, then `paused`."""
    return await _act(job_id, lambda: bridge.control.pause(job_id))


@router.post(
    "/api/training/resume/{job_id}",
    responses={**_OF_A_BODY, **_ANSWERS},
    openapi_extra=RESUME_BODY,
)
async def resume(
    bridge: ThisBridge, job_id: str, request: Request, checkpoint_path: str = ""
) -> JSONResponse:
    """Resume a paused job, from ``checkpoint_path`` (query or JSON body) or its latest."""
    body = await optional_body(request, ResumeBody)
    checkpoint = checkpoint_path or body.checkpoint_path or None
    return await _act(job_id, lambda: bridge.control.resume(job_id, checkpoint))


@router.post("/api/training/{job_id}/force-start", responses={**error_answers(422), **_ANSWERS})
async def force_start(bridge: ThisBridge, job_id: str, from_start: bool = False) -> JSONResponse:
    """Move a waiting job to the head; queue a failed or cancelled one again."""
    return await _act(job_id, lambda: bridge.control.force_start(job_id, from_start=from_start))


class RemovedAnswer(BaseModel):
    """``bytes``: of the job's folder on the bridge's host."""

    success: bool
    job_id: str
    bytes: int


@router.delete("/api/training/jobs/{job_id}", responses=error_answers(404, 409))
def remove(bridge: ThisBridge, job_id: str) -> RemovedAnswer:
    """Remove a job that has ended for good: record, log, checkpoints and the trained model.

    409 while it has not ended, or while reports of it wait for the backend.
    """
    bridge.job(job_id)
    try:
        gone = Retention(bridge.redis, bridge.settings).remove(job_id)
    except CannotRemove as error:
        raise HTTPException(409, str(error)) from None
    return RemovedAnswer(success=True, job_id=job_id, bytes=gone.bytes)


async def _act(job_id: str, act: Callable[[], ControlResult]) -> JSONResponse:
    answer = await run_in_threadpool(act)
    code = 200 if answer.success else 404 if answer.previous_status is None else 409
    body = ControlAnswer(job_id=job_id, **vars(answer)).model_dump()
    if not answer.success:
        body |= error_body(answer.message)
    return JSONResponse(body, status_code=code)
