"""Routes of the page that change a job's row: tags and notes, and whether it is there at all."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from backend_bridge.dev_backend.bridge_link import BridgeLink
from backend_bridge.dev_backend.feed import Feed
from backend_bridge.dev_backend.jobs import Jobs
from backend_bridge.dev_backend.wire import ApiError

_Tag = Annotated[str, Field(min_length=1, max_length=50)]


class Remarks(BaseModel):
    """What a person writes beside a job."""

    model_config = ConfigDict(extra="forbid")

    tags: Annotated[list[_Tag], Field(max_length=20)]
    notes: Annotated[str, Field(max_length=10_000)]


def page_routes(jobs: Jobs, link: BridgeLink, feed: Feed) -> APIRouter:
    """The routes below ``/api/dev/jobs``."""
    router = APIRouter(prefix="/api/dev/jobs")

    @router.put("/{job_id}/remarks")
    def put_remarks(job_id: str, remarks: Remarks) -> JSONResponse:
        jobs.set_remarks(job_id, list(dict.fromkeys(remarks.tags)), remarks.notes)
        feed.changed(job_id)
        return JSONResponse({"success": True})

    @router.delete("/{job_id}")
    def delete(job_id: str) -> JSONResponse:
        """What the workers have of it, too; a job that the bridge does not know is a row only."""
        jobs.get(job_id)
        if link.url is not None:
            code, answer = link.remove(job_id)
            if code not in (200, 404):
                raise ApiError(code, answer.get("error", "The bridge refused"))
        jobs.delete(job_id)
        feed.changed(job_id)
        return JSONResponse({"success": True})

    return router
