"""The bridge's routes that start jobs and read them."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic_core import to_json

from backend_bridge.api.context import Bridge
from backend_bridge.api.error_responses import refusals
from backend_bridge.api.metrics import exposition
from backend_bridge.api.openapi import START_BODY
from backend_bridge.api.request_body import json_body
from backend_bridge.api.responses import (
    ErrorsAnswer,
    HealthAnswer,
    JobAnswer,
    JobsAnswer,
    LogsAnswer,
    MetricsAnswer,
    QueueAnswer,
    StartAnswer,
)
from trainyard.scheduling.estimate import estimate_now

LOG_LINES_MAX = 100_000


def add_health(app: FastAPI, bridge: Bridge) -> None:
    @app.get("/health", tags=["health"], responses=refusals(503))
    def health() -> HealthAnswer:
        """Whether the bridge reaches Redis, which slots are alive, and how many jobs run."""
        bridge.check_redis()
        slots = bridge.slots.alive()
        gpus = [gpu for slot in slots for gpu in slot.info.get("gpus", [])]
        return HealthAnswer(
            status="ok",
            gpu_available=bool(gpus),
            gpu_info=gpus or None,
            active_jobs=bridge.store.occupying_count(),
            queued_jobs=bridge.store.waiting_count(),
            slots=[slot.name for slot in slots],
            slots_out_of_service=bridge.slots.out_of_service(),
            version=app.version,
        )


def add_prometheus(app: FastAPI, bridge: Bridge) -> None:
    @app.get(
        "/metrics",
        tags=["health"],
        response_class=Response,
        responses={
            200: {"description": "Prometheus's text format.", "content": {"text/plain": {}}},
            **refusals(401, 503),
        },
    )
    def metrics() -> Response:
        """Figures for Prometheus: jobs, waits, runs, restarts, deliveries, slots, GPUs."""
        return Response(exposition(bridge), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def add_start(app: FastAPI, bridge: Bridge) -> None:
    @app.post(
        "/api/training/execute",
        tags=["jobs"],
        responses=refusals(400, 401, 409, 413, 422, 503),
        openapi_extra=START_BODY,
    )
    async def execute(request: Request) -> StartAnswer:
        """Admit a job: validate, count, store, enqueue. The same request again is the same job.

        409 where the job id belongs to another request or the job limit is reached, 422 with
        every wrong field, 413 past the size limit, 400 for a body that is no JSON.
        """
        body = await json_body(request, bridge.settings.max_request_mb)
        admitted = await run_in_threadpool(bridge.admission.admit, body)
        return StartAnswer(success=True, **vars(admitted))


def add_reads(app: FastAPI, bridge: Bridge) -> None:
    @app.get(
        "/api/training/status/{job_id}",
        tags=["jobs"],
        responses=refusals(401, 404, 422, 503),
    )
    def status(job_id: str) -> JobAnswer:
        """Everything that is known of one job; what is not known is null."""
        job, position = bridge.job(job_id), bridge.store.queue_position(job_id)
        return JobAnswer.of(job, position, bridge.starts_in_s(position))

    @app.get(
        "/api/training/logs/{job_id}",
        tags=["jobs"],
        responses=refusals(401, 404, 422, 503),
    )
    def logs(
        job_id: str,
        limit: Annotated[int, Query(ge=0, le=LOG_LINES_MAX)] = 100,
        offset: int = 0,
    ) -> LogsAnswer:
        """Log lines, the same strings that the backend gets; a negative offset is from the end."""
        bridge.job(job_id)
        page = bridge.events.logs(job_id, limit=limit, offset=offset)
        return LogsAnswer.of(job_id, page, limit)

    @app.get(
        "/api/training/metrics/{job_id}",
        tags=["jobs"],
        responses=refusals(401, 404, 422, 503),
    )
    def metrics(job_id: str) -> MetricsAnswer:
        """Every metric point of the job, oldest first."""
        bridge.job(job_id)
        return MetricsAnswer(job_id=job_id, metrics=bridge.events.metrics(job_id))

    @app.get(
        "/api/training/{job_id}/errors",
        tags=["jobs"],
        responses=refusals(401, 404, 422, 503),
    )
    def errors(job_id: str) -> ErrorsAnswer:
        """Why the job failed: kind, sentence, hint, traceback; the errors of all its attempts."""
        return ErrorsAnswer.of(bridge.job(job_id))

    @app.get(
        "/api/training/jobs",
        tags=["jobs"],
        responses=refusals(401, 503),
    )
    def jobs() -> JobsAnswer:
        """All jobs, newest first."""
        positions = {job_id: i for i, job_id in enumerate(bridge.store.waiting(), start=1)}
        found = reversed(bridge.store.jobs())
        return JobsAnswer(jobs=[JobAnswer.of(job, positions.get(job.job_id)) for job in found])

    @app.get(
        "/api/training/queue",
        tags=["jobs"],
        response_model=QueueAnswer,
        responses=refusals(401, 503),
    )
    def queue() -> Response:
        """What runs, and what waits with its position."""
        running = bridge.store.jobs(bridge.store.occupying())
        waiting = bridge.store.waiting()
        starts = estimate_now(bridge.store, bridge.slot_count()).first(len(waiting))
        body = {
            "running": [
                {"job_id": job.job_id, "status": job.status, "slot": job.slot} for job in running
            ],
            "queued": [
                {"job_id": job_id, "queue_position": i, "estimated_start_seconds": start}
                for i, (job_id, start) in enumerate(zip(waiting, starts, strict=True), start=1)
            ],
            "slots": [slot.name for slot in bridge.slots.alive()],
        }
        # Ten thousand waiting jobs are validated one by one otherwise, on the way out.
        return Response(to_json(body), media_type="application/json")
