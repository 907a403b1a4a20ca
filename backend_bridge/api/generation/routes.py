"""Route of a trained model's answers, as they are made."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from backend_bridge.api.context import Bridge, ThisBridge
from backend_bridge.api.error_responses import error_answers
from backend_bridge.api.generation.conversation import Generation
from backend_bridge.api.openapi import EVENT_STREAM, EVENT_STREAM_CONTENT, GENERATE_BODY
from backend_bridge.api.request_body import optional_body
from trainyard.contract.generation.messages import AskedOfJob, GenerateBody
from trainyard.contract.job_folder import checkpoint_path
from trainyard.scheduling.generations import TooManyWait
from trainyard.store.job import Job

router = APIRouter(tags=["generation"])


@router.post(
    "/api/training/{job_id}/generate",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events: `waiting` (with the place), `loading`, `text` as "
            "often as it takes, then `done` or `failed`; `kind` of each says which.",
            "content": EVENT_STREAM_CONTENT,
        },
        **error_answers(400, 404, 409, 413, 422),
    },
    openapi_extra=GENERATE_BODY,
)
async def generate(bridge: ThisBridge, job_id: str, request: Request) -> Response:
    """Ask the trained model, a checkpoint of it, or the model that it was made from.

    It runs on a slot, and never beside a training: until one is free, or makes way, it waits. When
    the client leaves, it ends.
    """
    question = await optional_body(request, GenerateBody)
    try:
        conversation = await run_in_threadpool(admit, bridge, job_id, question)
    except TooManyWait as error:
        raise HTTPException(409, str(error)) from None
    return StreamingResponse(conversation.events(), media_type=EVENT_STREAM)


def admit(bridge: Bridge, job_id: str, question: GenerateBody) -> Generation:
    """A generation that waits for its slot. Answers 404 and 409, raises TooManyWait."""
    job = bridge.job(job_id)
    if (reason := _reason_against(bridge, job, question)) is not None:
        raise HTTPException(409, f"job {job_id} {reason}")
    slot = bridge.dispatcher.slot_for(job)
    asked = AskedOfJob(job_id=job_id, attempt=job.attempt, slot=slot, question=question)
    return Generation(bridge, asked)


def _reason_against(bridge: Bridge, job: Job, question: GenerateBody) -> str | None:
    """What is known before a slot is asked; what lies on another host only a slot can tell."""
    if job.started_at is None:
        return f"has no files yet: it is {job.status}"
    if not bridge.dispatcher.files_are_reachable(job):
        return "has its files on a host that is gone"
    if question.checkpoint:
        path = checkpoint_path(question.checkpoint)
        written = {stored.checkpoint.path for stored in bridge.events.checkpoints(job.job_id)}
        if path not in written:
            return f"has no {question.checkpoint}: `trainyard checkpoints {job.job_id}` lists them"
    elif not question.base and not job.result:
        return (
            f"has no trained model: it is {job.status}; `--checkpoint` (`checkpoint` of a request) "
            "asks one of its checkpoints"
        )
    return None
