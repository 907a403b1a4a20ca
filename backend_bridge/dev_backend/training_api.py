"""Routes of the contract, ``/api/training/local``: what a backend offers to the workers.

Writes take the job's own token. Reads belong to signed-in users at a real backend; here they
are open, because this server listens on loopback and has no users.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse

from backend_bridge.dev_backend.feed import Feed
from backend_bridge.dev_backend.jobs import NO_TOKEN, Jobs, NewJob
from backend_bridge.dev_backend.wire import (
    ApiError,
    bearer_token,
    parse_object,
    redact,
    token_digest,
)
from trainyard.contract.events import Metric
from trainyard.contract.names import JOB_ID_PATTERN
from trainyard.contract.statuses import BackendStatus

STATUSES: tuple[str, ...] = get_args(BackendStatus)
METRIC_FIELDS = frozenset(Metric.model_fields) - {"event", "step", "epoch", "eval_perplexity"}
"""Optional fields of a point; the real backend knows ``perplexity`` and no ``eval_perplexity``."""
_LARGEST_EXACT_INTEGER = 2**53


@dataclass(frozen=True)
class Call:
    """What an endpoint needs of its request; read before the endpoint gets its thread."""

    bearer: str | None
    idempotency_key: str | None
    body: bytes
    fingerprint: str


async def read_call(request: Request) -> Call:
    """Dependency: the request with its whole body."""
    body = await request.body()
    head = f"{request.method} {request.url.path}\n".encode()
    return Call(
        bearer=bearer_token(request.headers.get("authorization")),
        idempotency_key=request.headers.get("idempotency-key"),
        body=body,
        fingerprint=hashlib.sha256(head + body).hexdigest(),
    )


AnyCall = Annotated[Call, Depends(read_call)]


def training_routes(jobs: Jobs, feed: Feed) -> APIRouter:
    """The routes, over one store of jobs."""
    router = APIRouter(prefix="/api/training/local")

    def write(job_id: str, call: Call, action: Callable[[dict[str, Any]], Any]) -> JSONResponse:
        check_token(jobs, job_id, call)
        answer = jobs.once(
            job_id, call.idempotency_key, call.fingerprint, lambda: action(parse_object(call.body))
        )
        feed.changed(job_id)
        return JSONResponse(answer)

    @router.post("/jobs", status_code=201)
    def create_job(call: AnyCall) -> JSONResponse:
        return make_job(jobs, feed, call)

    @router.get("/jobs")
    def list_jobs(limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000) -> JSONResponse:
        return JSONResponse({"jobs": jobs.newest(limit)})

    @router.delete("/jobs/{job_id}")
    def delete_job(job_id: str) -> JSONResponse:
        jobs.delete(job_id)
        feed.changed(job_id)
        return JSONResponse({"success": True})

    @router.patch("/{job_id}/status")
    def patch_status(job_id: str, call: AnyCall) -> JSONResponse:
        return write(job_id, call, lambda body: jobs.set_status(job_id, *_status(body)))

    @router.get("/{job_id}/status")
    def get_status(job_id: str) -> JSONResponse:
        return JSONResponse(jobs.get(job_id))

    @router.put("/{job_id}/metrics")
    def put_metric(job_id: str, call: AnyCall) -> JSONResponse:
        return write(job_id, call, lambda body: jobs.add_metric(job_id, point_of(body)))

    @router.get("/{job_id}/metrics")
    def get_metrics(job_id: str) -> JSONResponse:
        jobs.get(job_id)
        return JSONResponse({"job_id": job_id, "metrics": jobs.metrics(job_id)})

    @router.post("/{job_id}/logs")
    def post_logs(job_id: str, call: AnyCall) -> JSONResponse:
        return write(job_id, call, lambda body: jobs.append_logs(job_id, _lines(body)))

    @router.get("/{job_id}/logs")
    def get_logs(
        job_id: str,
        limit: Annotated[int, Query(ge=1, le=100_000)] = 100,
        offset: Annotated[int, Query(ge=-100_000, le=100_000)] = 0,
    ) -> JSONResponse:
        return JSONResponse({"job_id": job_id, **jobs.logs(job_id, offset, limit)})

    return router


def make_job(jobs: Jobs, feed: Feed, call: Call) -> JSONResponse:
    """``POST /jobs`` of the backend's own users: a new row."""
    job = jobs.create(new_job(parse_object(call.body)))
    feed.changed(job["job_id"])
    return JSONResponse({"success": True, "job": job}, 201)


def check_token(jobs: Jobs, job_id: str, call: Call) -> None:
    if call.bearer is None:
        raise ApiError(401, "Missing bearer token")
    expected = jobs.token_sha256(job_id)
    if not expected:
        raise ApiError(404, "Job not found")
    if not hmac.compare_digest(expected, token_digest(call.bearer)):
        raise ApiError(401, "Invalid job token")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def new_job(body: dict[str, Any]) -> NewJob:
    problems = []
    job_id, token, config = body.get("job_id"), body.get("job_token"), body.get("config", {})
    is_fetched = "job_token" not in body
    if not isinstance(job_id, str) or not re.fullmatch(JOB_ID_PATTERN, job_id):
        problems.append("job_id: 1 to 128 letters, digits, '.', '_' or '-', no dot first")
    if not is_fetched and not (isinstance(token, str) and token.strip()):
        problems.append("job_token: should be text")
    if not isinstance(config, dict):
        problems.append("config: should be an object")
    status = body.get("status", "pending")
    if status not in ("pending", *STATUSES):
        problems.append("status: unknown")
    texts = {name: body.get(name) for name in ("name", "user_id", "model_name", "dataset_path")}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            problems.append(f"{name}: should be text")
    if problems or not isinstance(job_id, str):
        raise ApiError(400, "Invalid job", "; ".join(problems))
    return NewJob(
        job_id=job_id,
        token_sha256=NO_TOKEN if is_fetched else token_digest(str(token).strip()),
        config=redact(config, urls=not is_fetched),
        status=status,
        **redact(texts, urls=not is_fetched),
    )


def _status(body: dict[str, Any]) -> tuple[str, str | None]:
    status, error = body.get("status"), body.get("error")
    if status not in STATUSES:
        raise ApiError(400, "Invalid status", f"status should be one of {', '.join(STATUSES)}")
    if error is not None and not isinstance(error, str):
        raise ApiError(400, "Invalid error", "error should be text")
    return status, error


def point_of(body: dict[str, Any]) -> dict[str, Any]:
    step, epoch = body.get("step"), body.get("epoch")
    if not step:
        raise ApiError(400, "step is required", "step is missing or 0")
    if isinstance(step, float) and step.is_integer():
        step = int(step)  # 4.0 is 4 in JavaScript
    if isinstance(step, bool) or not isinstance(step, int) or not 0 < step < _LARGEST_EXACT_INTEGER:
        raise ApiError(400, "Invalid step", "step should be an integer of 1 or more")
    if not _is_number(epoch):
        raise ApiError(400, "epoch is required", "epoch should be a number")
    values = {name: body[name] for name in body if name in METRIC_FIELDS and body[name] is not None}
    for name, value in values.items():
        if not _is_number(value):
            raise ApiError(400, "Invalid metric", f"{name} should be a number")
    return {"step": step, "epoch": epoch, **values}


def _lines(body: dict[str, Any]) -> list[str]:
    lines = body.get("logs")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ApiError(400, "logs should be an array of strings")
    return lines
