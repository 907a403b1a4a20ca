"""Link of the page to the bridge: live progress, checkpoints, buttons.

The page talks to this server only; this server has the bridge's address and key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal
from urllib.parse import quote

import requests
from fastapi import APIRouter, Body
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, StreamingResponse

from backend_bridge.dev_backend.feed import Feed
from trainyard.contract.statuses import ACTIVE
from trainyard.direct_http import call

Action = Literal["pause", "resume", "cancel", "force-start"]
TIMEOUT_S = 5.0
_LOOK_EVERY_S = 1.0
_KEEP_ALIVE_LOOKS = 15


class BridgeLink:
    """Requests to one bridge; ``url`` None if there is none to ask."""

    def __init__(self, url: str | None, api_key: str | None) -> None:
        self.url = url.rstrip("/") if url else None
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def read(self, path: str) -> Any:
        """The decoded answer; None if the bridge is away, or knows no such thing."""
        status, body = self._call("GET", path)
        return body if status == 200 else None

    def act(self, job_id: str, action: Action, body: dict[str, Any]) -> tuple[int, Any]:
        """One of the buttons; the bridge's own answer, or 502 if it is away."""
        job_id = quote(job_id, safe="")
        path = f"{action}/{job_id}" if action != "force-start" else f"{job_id}/force-start"
        return self._call("POST", f"/api/training/{path}", json=body)

    def job(self, job_id: str) -> dict[str, Any]:
        """What the page of one job shows of the bridge; ``status`` None if it is away."""
        job_id = quote(job_id, safe="")
        written = self.read(f"/api/training/checkpoints/{job_id}") or {"checkpoints": []}
        return {
            "status": self.read(f"/api/training/status/{job_id}"),
            "checkpoints": written["checkpoints"],
        }

    def active(self) -> dict[str, Any]:
        """The jobs that are not at an end, by id."""
        answer = self.read("/api/training/jobs") or {"jobs": []}
        return {job["job_id"]: job for job in answer["jobs"] if job["status"] in ACTIVE}

    def _call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        if self.url is None:
            return 502, {"error": "No bridge is configured (BRIDGE_URL)"}
        try:
            answer = call(
                method, self.url + path, timeout_s=TIMEOUT_S, headers=self._headers, **options
            )
            return answer.status_code, answer.json()
        except (requests.RequestException, ValueError):
            return 502, {"error": f"The bridge at {self.url} does not answer"}


def bridge_routes(link: BridgeLink, feed: Feed) -> APIRouter:
    """The routes below ``/api/dev/bridge``."""
    router = APIRouter(prefix="/api/dev/bridge")

    @router.get("/events")
    async def stream_active() -> StreamingResponse:
        return _stream(link.active, "active", feed)

    @router.get("/events/{job_id}")
    async def stream_job(job_id: str) -> StreamingResponse:
        return _stream(lambda: link.job(job_id), "bridge", feed)

    @router.post("/{job_id}/{action}")
    def act(
        job_id: str, action: Action, body: Annotated[dict[str, Any] | None, Body()] = None
    ) -> JSONResponse:
        code, answer = link.act(job_id, action, body or {})
        return JSONResponse(answer, code)

    return router


def _stream(read: Callable[[], Any], name: str, feed: Feed) -> StreamingResponse:
    return StreamingResponse(_changes(read, name, feed), media_type="text/event-stream")


async def _changes(read: Callable[[], Any], name: str, feed: Feed) -> AsyncIterator[str]:
    """What ``read`` gives, each time that it is something new."""
    yield "retry: 1000\n\n"
    told, quiet = None, 0
    while not feed.closed:
        data = json.dumps(await run_in_threadpool(read))
        quiet = 0 if data != told else quiet + 1
        if data != told:
            yield f"event: {name}\ndata: {data}\n\n"
        elif quiet % _KEEP_ALIVE_LOOKS == 0:
            yield ": still here\n\n"
        told = data
        await asyncio.sleep(_LOOK_EVERY_S)
