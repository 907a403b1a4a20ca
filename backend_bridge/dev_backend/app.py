"""Application of the development backend: the contract's endpoints, events, and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from backend_bridge.api.guards import HostGuard
from backend_bridge.dev_backend.agent_api import Waiting, agent_routes
from backend_bridge.dev_backend.bridge_link import BridgeLink, bridge_routes
from backend_bridge.dev_backend.database import Database
from backend_bridge.dev_backend.events import event_routes
from backend_bridge.dev_backend.feed import Feed
from backend_bridge.dev_backend.jobs import Jobs
from backend_bridge.dev_backend.optional_api import OptionalRoutes, optional_routes
from backend_bridge.dev_backend.page_api import page_routes
from backend_bridge.dev_backend.page_headers import PageHeaders
from backend_bridge.dev_backend.start_api import start_routes
from backend_bridge.dev_backend.training_api import training_routes
from backend_bridge.dev_backend.wire import ApiError
from trainyard.contract.request import FieldProblem

STATIC = Path(__file__).parent / "static"


async def _api_error(_: Request, error: ApiError) -> Response:
    return error.response()


async def _http_error(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    problems = "; ".join(str(FieldProblem.of(item)) for item in error.errors())
    return ApiError(400, "Invalid request", problems).response()


async def _defect(_: Request, error: Exception) -> Response:
    return ApiError(500, "Internal server error").response()


_ERROR_HANDLERS: dict[int | type[Exception], Any] = {
    ApiError: _api_error,
    HTTPException: _http_error,
    RequestValidationError: _invalid,
    Exception: _defect,
}


def create_app(
    database: Database,
    feed: Feed,
    *,
    bridge: BridgeLink,
    bridge_link: str | None = None,
    loopback_only: bool = True,
    short_names: bool = False,
    has_optional_routes: bool = True,
    agent_key: str | None = None,
    poll_interval_s: float = 10.0,
) -> ASGIApp:
    """The ASGI application over an open database.

    ``agent_key``: what workers send that fetch their jobs; None: none may.
    ``bridge_link``: the bridge's address for a browser, if that is not the one that ``bridge``
    asks; the others are :class:`HostGuard`'s.
    """
    jobs = Jobs(database)
    app = FastAPI(
        title="Trainyard development backend",
        docs_url=None,
        redoc_url=None,
        exception_handlers=_ERROR_HANDLERS,
    )
    if has_optional_routes:  # before the others: a job could be named 'metrics'
        app.include_router(optional_routes(OptionalRoutes(database, jobs), jobs, feed))
    app.include_router(training_routes(jobs, feed))
    app.include_router(agent_routes(Waiting(database, jobs), feed, agent_key, poll_interval_s))
    app.include_router(event_routes(jobs, feed))
    app.include_router(bridge_routes(bridge, feed))
    app.include_router(page_routes(jobs, bridge, feed))
    app.include_router(start_routes(jobs, bridge, feed))
    app.include_router(_pages(bridge_link or bridge.url))
    app.mount("/static", _Static(directory=STATIC))
    guarded = HostGuard(
        app, server="this server", loopback_only=loopback_only, short_names=short_names
    )
    return PageHeaders(guarded)


def _pages(bridge_url: str | None) -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @router.get("/api/dev/info")
    async def info() -> JSONResponse:
        return JSONResponse({"bridge_url": bridge_url})

    @router.get("/", include_in_schema=False)
    async def list_page() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @router.get("/new", include_in_schema=False)
    async def start_page() -> Response:
        return FileResponse(STATIC / "new.html", headers={"Cache-Control": "no-cache"})

    @router.get("/sweeps/{group}", include_in_schema=False)
    async def sweep_page(group: str) -> Response:
        return FileResponse(STATIC / "sweep.html", headers={"Cache-Control": "no-cache"})

    @router.get("/jobs/{job_id}", include_in_schema=False)
    async def job_page(job_id: str) -> Response:
        return FileResponse(STATIC / "job.html", headers={"Cache-Control": "no-cache"})

    return router


class _Static(StaticFiles):
    """Static files that a browser asks about again each time: no stale page after an upgrade."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]  # passed on
        response.headers["Cache-Control"] = "no-cache"
        return response
