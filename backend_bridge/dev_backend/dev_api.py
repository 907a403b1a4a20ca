"""What a real backend does not have: the record of requests, faults, events for the page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, StreamingResponse

from . import events
from .faults import Fault, Faults
from .feed import Feed
from .jobs import Jobs
from .recording import RequestLog


def dev_routes(jobs: Jobs, feed: Feed, log: RequestLog, faults: Faults) -> APIRouter:
    """The routes below ``/api/dev``."""
    router = APIRouter(prefix="/api/dev")

    @router.get("/requests")
    def read_requests(
        job_id: str | None = None,
        after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        limit: Annotated[int, Query(ge=1, le=100_000)] = 1_000,
    ) -> JSONResponse:
        return JSONResponse({"requests": log.read(job_id, after, limit)})

    @router.get("/faults")
    async def read_faults() -> JSONResponse:
        return JSONResponse({"faults": faults.describe()})

    @router.post("/faults")
    async def add_fault(fault: Fault) -> JSONResponse:
        faults.add(fault)
        return JSONResponse({"faults": faults.describe()})

    @router.delete("/faults")
    async def clear_faults() -> JSONResponse:
        faults.clear()
        return JSONResponse({"faults": []})

    @router.get("/events")
    async def stream_all() -> StreamingResponse:
        return StreamingResponse(events.all_jobs(jobs, feed), media_type="text/event-stream")

    @router.get("/events/{job_id}")
    async def stream_one(
        job_id: str,
        last_event_id: Annotated[str | None, Header()] = None,
        after: str | None = None,
    ) -> StreamingResponse:
        await run_in_threadpool(jobs.get, job_id)  # a job that is not there: 404, not a stream
        cursor = events.parse_cursor(last_event_id or after)
        stream = events.one_job(jobs, feed, job_id, cursor)
        return StreamingResponse(stream, media_type="text/event-stream")

    return router
