"""Link of the page to the bridge: live progress, checkpoints, buttons.

The page talks to this server only; this server has the bridge's address and key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import requests
from fastapi import APIRouter, Body
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, StreamingResponse

from backend_bridge.dev_backend.events import JOBS_SHOWN
from backend_bridge.dev_backend.feed import Feed
from backend_bridge.dev_backend.wire import ApiError
from trainyard.contract.job_folder import MODEL
from trainyard.contract.statuses import STATUSES, WITHOUT_BRIDGE, Button
from trainyard.direct_http import call, open_session
from trainyard.store.job_files import result_sizes

Action = Literal["pause", "resume", "cancel", "force-start"]
TIMEOUT_S = 5.0
_NO_BRIDGE = "No bridge is configured (BRIDGE_URL)"
_SILENCE_S = 30.0
"""The bridge says something every few seconds while a model answers."""
_LOOK_EVERY_S = 1.0
_KEEP_ALIVE_LOOKS = 15
_LISTED = (
    *("status", "elapsed_seconds", "remaining_seconds", "current_step", "total_steps"),
    *("queue_position", "estimated_start_seconds", "waiting_reason", "group"),
)

_OF_A_GROUP: tuple[Button, ...] = ("pause", "resume", "cancel")
"""What the page offers for all jobs of a sweep together."""


class BridgeLink:
    """Requests to one bridge; ``url`` None if there is none to ask.

    ``home``: TRAINYARD_HOME of this host, where a trained model may lie.
    """

    def __init__(self, url: str | None, api_key: str | None, home: Path | None = None) -> None:
        self.url = url.rstrip("/") if url else None
        self._home = home
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

    def start(self, body: dict[str, Any]) -> tuple[int, Any]:
        """A start request; the bridge's own answer, or 502 if it is away."""
        return self._call("POST", "/api/training/execute", json=body)

    def remove(self, job_id: str) -> tuple[int, Any]:
        """Have a job removed that has ended; the bridge's own answer, or 502 if it is away."""
        return self._call("DELETE", f"/api/training/jobs/{quote(job_id, safe='')}")

    def job(self, job_id: str) -> dict[str, Any]:
        """What the page of one job shows of the bridge; ``status`` None if it is away."""
        quoted = quote(job_id, safe="")
        written = self.read(f"/api/training/checkpoints/{quoted}") or {"checkpoints": []}
        status = self.read(f"/api/training/status/{quoted}")
        return {
            "status": status,
            "buttons": STATUSES[status["status"]].buttons if status else WITHOUT_BRIDGE,
            "checkpoints": written["checkpoints"],
            "model": self._model(status) if status and status["result"] else None,
        }

    def _model(self, status: dict[str, Any]) -> dict[str, Any] | None:
        """Where a trained model lies; None if not on this host."""
        folder = self._home and self._home.absolute() / "jobs" / status["job_id"] / MODEL
        if not folder or not folder.is_dir():
            return None
        own_bytes, merged_bytes = result_sizes(folder)
        return {
            "path": str(folder),
            "size_bytes": own_bytes,
            "merged_bytes": merged_bytes,
            "is_adapter": (folder / "adapter_config.json").exists(),
        }

    def jobs(self) -> dict[str, dict[str, Any]]:
        """What the list shows of the bridge's newest jobs, by id; {} if it is away."""
        answer = self.read(f"/api/training/jobs?limit={JOBS_SHOWN}") or {"jobs": []}
        return {job["job_id"]: {name: job.get(name) for name in _LISTED} for job in answer["jobs"]}

    def group(self, group: str) -> dict[str, Any]:
        """What the page of a sweep shows; {} if the bridge is away, or knows none of this name."""
        found = self.read(f"/api/training/groups/{quote(group, safe='')}")
        if not found:
            return {}
        offered = {button for status in found["counts"] for button in STATUSES[status].buttons}
        return {**found, "buttons": [one for one in _OF_A_GROUP if one in offered]}

    def ask(self, job_id: str, question: dict[str, Any]) -> Iterator[bytes]:
        """What a trained model says, as it comes: server-sent events. Raises ApiError."""
        if self.url is None:
            raise ApiError(502, _NO_BRIDGE)
        session = open_session()
        path = f"/api/training/{quote(job_id, safe='')}/generate"
        try:
            answer = session.post(
                self.url + path,
                json=question,
                headers=self._headers,
                timeout=(TIMEOUT_S, _SILENCE_S),
                stream=True,
            )
            if answer.status_code != 200:
                raise ApiError(answer.status_code, answer.json()["error"])
        except (requests.RequestException, ValueError, KeyError):
            session.close()
            raise ApiError(502, f"The bridge at {self.url} does not answer") from None
        return _passed_on(session, answer)

    def _call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        if self.url is None:
            return 502, {"error": _NO_BRIDGE}
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
    async def stream_jobs() -> StreamingResponse:
        return _stream(link.jobs, "live", feed)

    @router.get("/events/{job_id}")
    async def stream_job(job_id: str) -> StreamingResponse:
        return _stream(lambda: link.job(job_id), "bridge", feed)

    @router.get("/groups/{group}")
    async def stream_group(group: str) -> StreamingResponse:
        return _stream(lambda: link.group(group), "group", feed)

    @router.get("/jobs/{job_id}")
    def job(job_id: str) -> JSONResponse:
        return JSONResponse(link.job(job_id))

    @router.post("/{job_id}/generate")
    def generate(job_id: str, question: Annotated[dict[str, Any], Body()]) -> StreamingResponse:
        return StreamingResponse(link.ask(job_id, question), media_type="text/event-stream")

    @router.post("/{job_id}/{action}")
    def act(
        job_id: str, action: Action, body: Annotated[dict[str, Any] | None, Body()] = None
    ) -> JSONResponse:
        code, answer = link.act(job_id, action, body or {})
        return JSONResponse(answer, code)

    return router


def _passed_on(session: requests.Session, answer: requests.Response) -> Iterator[bytes]:
    """The answer's pieces; when the reader goes before its end, the question is taken back."""
    with closing(session), closing(answer):
        try:
            yield from answer.iter_content(None)
        except requests.RequestException:
            said = {"kind": "failed", "error": "The bridge does not answer any more", "hint": ""}
            yield f"data: {json.dumps(said)}\n\n".encode()


class News:
    """What has changed since the last call, by key, None if it is gone; at first all.

    ``is_whole`` says that what was known before counts no more.
    """

    def __init__(self, read: Callable[[], dict[str, Any]]) -> None:
        self._read = read
        self._told: dict[str, Any] | None = None

    def __call__(self) -> dict[str, Any] | None:
        """None if there is no news."""
        told, now = self._told, self._read()
        self._told = now
        if told is None:
            return {"is_whole": True, "values": now}
        either = {**told, **now}
        changed = {key: now.get(key) for key in either if told.get(key) != now.get(key)}
        return {"is_whole": False, "values": changed} if changed else None


def _stream(read: Callable[[], dict[str, Any]], name: str, feed: Feed) -> StreamingResponse:
    return StreamingResponse(_changes(News(read), name, feed), media_type="text/event-stream")


async def _changes(news: News, name: str, feed: Feed) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    quiet = 0
    while not feed.closed:
        found = await run_in_threadpool(news)
        quiet = quiet + 1 if found is None else 0
        if found is not None:
            yield f"event: {name}\ndata: {json.dumps(found)}\n\n"
        elif quiet % _KEEP_ALIVE_LOOKS == 0:
            yield ": still here\n\n"
        await asyncio.sleep(_LOOK_EVERY_S)
