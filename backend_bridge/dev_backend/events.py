"""Server-sent events: the page's view of the jobs, as they change.

A stream of one job carries ``changes`` with an id that says how far it has come
(``{metric}.{line}``): a browser that reconnects sends it as ``Last-Event-ID``, a page that opens
a new stream as ``?after=``, and gets the rest.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, StreamingResponse

from backend_bridge.dev_backend.feed import Feed
from backend_bridge.dev_backend.jobs import Changes, Cursor, Jobs
from backend_bridge.dev_backend.wire import ApiError

JOBS_SHOWN = 500
_KEEP_ALIVE_S = 15.0
_COALESCE_S = 0.1
_RETRY = "retry: 1000\n\n"


def parse_cursor(last_event_id: str | None) -> Cursor:
    """Where a reconnecting browser left off; the beginning if it does not say."""
    match = re.fullmatch(r"(\d{1,15})\.(\d{1,15})", last_event_id or "")
    return Cursor(int(match[1]), int(match[2])) if match else Cursor()


async def all_jobs(jobs: Jobs, feed: Feed) -> AsyncIterator[str]:
    """``jobs`` with the newest jobs once, then ``job`` for each that changes, ``gone`` for one that
    was deleted."""
    with feed.subscribe() as subscription:
        newest = await run_in_threadpool(jobs.newest, JOBS_SHOWN)
        yield _RETRY + _event("jobs", {"jobs": newest})
        while not feed.closed:
            changed = await subscription.wait(_KEEP_ALIVE_S)
            if not changed:
                yield ": still here\n\n"
            for job_id in sorted(changed):
                try:
                    job = await run_in_threadpool(jobs.get, job_id)
                except ApiError:
                    yield _event("gone", {"job_id": job_id})
                    continue
                del job["config"]
                yield _event("job", job)
            await asyncio.sleep(_COALESCE_S)


async def one_job(jobs: Jobs, feed: Feed, job_id: str, cursor: Cursor) -> AsyncIterator[str]:
    """``changes`` with the job, and the metrics and log lines behind the cursor.

    The stream ends if the job is deleted; who comes back then gets 404.
    """
    with feed.subscribe(job_id) as subscription:
        yield _RETRY
        while not feed.closed:
            try:
                changes = await run_in_threadpool(jobs.changes, job_id, cursor)
            except ApiError:
                return
            cursor = changes.cursor
            yield _event("changes", _body(changes), f"{cursor.metric}.{cursor.line}")
            if changes.more:
                continue
            while not feed.closed and not await subscription.wait(_KEEP_ALIVE_S):
                yield ": still here\n\n"
            await asyncio.sleep(_COALESCE_S)


def event_routes(jobs: Jobs, feed: Feed) -> APIRouter:
    """What the page reads of jobs: streams, and the points of one to compare with."""
    router = APIRouter(prefix="/api/dev")

    @router.get("/points/{job_id}")
    def points(job_id: str, whole: bool = False) -> JSONResponse:
        job = jobs.get(job_id)
        found, thinned = (jobs.timed_points(job_id), False) if whole else jobs.points(job_id)
        return JSONResponse({"job": job, "points": found, "thinned": thinned})

    @router.get("/events")
    async def stream_all() -> StreamingResponse:
        return StreamingResponse(all_jobs(jobs, feed), media_type="text/event-stream")

    @router.get("/events/{job_id}")
    async def stream_one(
        job_id: str,
        last_event_id: Annotated[str | None, Header()] = None,
        after: str | None = None,
    ) -> StreamingResponse:
        await run_in_threadpool(jobs.get, job_id)  # a job that is not there: 404, not a stream
        stream = one_job(jobs, feed, job_id, parse_cursor(last_event_id or after))
        return StreamingResponse(stream, media_type="text/event-stream")

    return router


def _body(changes: Changes) -> dict[str, Any]:
    return {
        "job": changes.job,
        "metrics": changes.metrics,
        "thinned": changes.thinned,
        "lines": changes.lines,
        "lines_cut": changes.lines_cut,
    }


def _event(name: str, data: dict[str, Any], event_id: str | None = None) -> str:
    head = f"event: {name}\n" + (f"id: {event_id}\n" if event_id else "")
    return f"{head}data: {json.dumps(data)}\n\n"
