"""Routes of pull mode, ``/api/training/agent``: where a worker that cannot be reached fetches jobs.

A row that was made without a ``job_token`` waits for such a worker: it gets its token at the claim,
is ``running`` from then on, and cannot be claimed again.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.responses import JSONResponse

from backend_bridge.dev_backend.database import Database
from backend_bridge.dev_backend.feed import Feed
from backend_bridge.dev_backend.jobs import NO_TOKEN, Jobs
from backend_bridge.dev_backend.wire import ApiError, bearer_token, token_digest

AGENT_ID_CHARACTERS_MIN = 10
_CLAIM = """
UPDATE jobs SET token_sha256 = ?, status = 'running' WHERE job_id = ? AND token_sha256 = ''
"""


class Waiting:
    """Jobs that wait for a worker to fetch them."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs

    def next(self) -> dict[str, Any] | None:
        """The oldest one; None if none waits."""
        rows = self._database.read(
            "SELECT job_id FROM jobs WHERE token_sha256 = ? ORDER BY number LIMIT 1", NO_TOKEN
        )
        return self.told(rows[0]["job_id"]) if rows else None

    def claim(self, job_id: str) -> str:
        """The job's token, for whoever comes first. Raises ApiError."""
        job, token = self._jobs.get(job_id), secrets.token_urlsafe(24)
        with self._database.transaction() as connection:
            done = connection.execute(_CLAIM, (token_digest(token), job_id)).rowcount
        if not done:
            code = "INVALID_STATUS" if job["status"] != "running" else "ALREADY_CLAIMED"
            raise ApiError(409, code)
        return token

    def told(self, job_id: str) -> dict[str, Any]:
        """A job as a worker needs it."""
        job = self._jobs.as_asked(job_id)
        names = ("user_id", "model_name", "dataset_path", "config", "created_at")
        return {"id": job_id, **{name: job[name] for name in names}}


def agent_routes(waiting: Waiting, feed: Feed, api_key: str | None, interval_s: float) -> APIRouter:
    """The routes; without an ``api_key`` every key is wrong."""
    router = APIRouter(prefix="/api/training/agent")

    def check(authorization: str | None, agent_id: str | None) -> None:
        key = bearer_token(authorization)
        if (
            key is None
            or api_key is None
            or not hmac.compare_digest(key.encode(), api_key.encode())
        ):
            raise ApiError(401, "Invalid API key")
        if agent_id is None or len(agent_id) < AGENT_ID_CHARACTERS_MIN:
            raise ApiError(400, "X-Agent-ID is required", "at least 10 characters")

    @router.get("/poll")
    def poll(
        authorization: Annotated[str | None, Header()] = None,
        x_agent_id: Annotated[str | None, Header()] = None,
    ) -> JSONResponse:
        check(authorization, x_agent_id)
        return JSONResponse({"job": waiting.next(), "poll_interval_seconds": interval_s})

    @router.post("/claim/{job_id}")
    def claim(
        job_id: str,
        authorization: Annotated[str | None, Header()] = None,
        x_agent_id: Annotated[str | None, Header()] = None,
    ) -> JSONResponse:
        check(authorization, x_agent_id)
        token = waiting.claim(job_id)
        feed.changed(job_id)
        return JSONResponse({"success": True, "job_token": token, "job": waiting.told(job_id)})

    return router
