"""Routes of OpenAI's fine-tuning API: ``/v1/fine_tuning/jobs``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from backend_bridge.api.file_routes import present_checkpoints
from backend_bridge.api.request_body import optional_body
from backend_bridge.intake.job_control import ControlResult
from backend_bridge.openai_api.asked import CreateJob
from backend_bridge.openai_api.context import ThisTuning
from backend_bridge.openai_api.errors import ApiRefusal
from backend_bridge.openai_api.job_objects import (
    CREATED,
    EVENT_KINDS,
    checkpoint_object,
    created_event,
    event_object,
    job_object,
)
from backend_bridge.openai_api.jobs import Tuning
from backend_bridge.openai_api.listing import (
    After,
    Limit,
    Listing,
    following,
    listing,
    no_such_cursor,
)

router = APIRouter(prefix="/fine_tuning/jobs")
_EVENT = re.compile(r"ftevent-([0-9]{1,15})-([0-9]{1,10})")
_METADATA = re.compile(r"metadata\[(.+)\]")


@router.post("")
async def create(tuning: ThisTuning, request: Request) -> dict[str, Any]:
    """Start a job."""
    asked = await optional_body(request, CreateJob)
    return job_object(*await run_in_threadpool(tuning.create, asked))


@router.get("")
def jobs(tuning: ThisTuning, request: Request, limit: Limit = 20, after: After = None) -> Listing:
    """The jobs that were made here, newest first; ``metadata[key]=value`` chooses."""
    named = ((_METADATA.fullmatch(name), value) for name, value in request.query_params.items())
    metadata = {found[1]: value for found, value in named if found}
    return listing([job_object(*one) for one in tuning.newest(limit + 1, after, metadata)], limit)


@router.get("/{job_id}")
def job(tuning: ThisTuning, job_id: str) -> dict[str, Any]:
    """One job."""
    return job_object(*tuning.find(job_id))


@router.post("/{job_id}/cancel")
def cancel(tuning: ThisTuning, job_id: str) -> dict[str, Any]:
    """Cancel it: what runs stops at its next step."""
    return _act(tuning, job_id, tuning.bridge.control.cancel)


@router.post("/{job_id}/pause")
def pause(tuning: ThisTuning, job_id: str) -> dict[str, Any]:
    """Pause it: it is `paused` when its checkpoint is written and verified."""
    return _act(tuning, job_id, tuning.bridge.control.pause)


@router.post("/{job_id}/resume")
def resume(tuning: ThisTuning, job_id: str) -> dict[str, Any]:
    """Go on with a paused one."""
    return _act(tuning, job_id, tuning.bridge.control.resume)


@router.get("/{job_id}/events")
def events(tuning: ThisTuning, job_id: str, limit: Limit = 20, after: After = None) -> Listing:
    """What happened, the newest first."""
    job, record = tuning.find(job_id)
    before = _entry_of(after)
    if before == CREATED:
        return listing([], limit)
    log = tuning.bridge.events
    found = log.newest(job_id, EVENT_KINDS, limit + 1, before)
    told = [event_object(entry, job, record) for entry in found]
    return listing([*told, created_event(job)][: limit + 1], limit)


@router.get("/{job_id}/checkpoints")
def checkpoints(tuning: ThisTuning, job_id: str, limit: Limit = 10, after: After = None) -> Listing:
    """Those that are there, the newest first."""
    job, record = tuning.find(job_id)
    stored = reversed(present_checkpoints(tuning.bridge, job))
    found = [checkpoint_object(one, job, record) for one in stored]
    return listing(following(found, after), limit)


def _act(tuning: Tuning, job_id: str, act: Callable[[str], ControlResult]) -> dict[str, Any]:
    tuning.find(job_id)
    result = act(job_id)
    if not result.success:
        raise ApiRefusal(400, result.message, code="invalid_state")
    return job_object(*tuning.find(job_id))


def _entry_of(after: str | None) -> str:
    if after is None:
        return ""
    found = _EVENT.fullmatch(after)
    if found is None:
        raise no_such_cursor(after)
    return f"{int(found[1])}-{int(found[2])}"
