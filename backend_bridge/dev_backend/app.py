"""The application: the contract's endpoints, the development ones, and the page."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from backend_bridge.api.guards import HostGuard

from .bridge_link import BridgeLink, bridge_routes
from .database import Database
from .dev_api import dev_routes
from .faults import Connections, Faults, Misbehaviour
from .feed import Feed
from .jobs import Jobs
from .page_headers import PageHeaders
from .recording import Recorder, RequestLog
from .training_api import training_routes
from .wire import ApiError

STATIC = Path(__file__).parent / "static"


def create_app(
    database: Database,
    feed: Feed,
    connections: Connections,
    *,
    bridge: BridgeLink,
    bridge_link: str | None = None,
    loopback_only: bool = True,
    short_names: bool = False,
) -> ASGIApp:
    """The ASGI application over an open database.

    From the outside in: guard, record of requests, faults, routes; so a request that meets a
    fault is recorded as well. ``bridge_link``: the bridge's address for a browser, where that is
    not the one that ``bridge`` asks; the others are :class:`HostGuard`'s.
    """
    jobs, log, faults = Jobs(database), RequestLog(database), Faults()
    app = FastAPI(title="Trainyard development backend", docs_url=None, redoc_url=None)
    app.include_router(training_routes(jobs, feed))
    app.include_router(dev_routes(jobs, feed, log, faults))
    app.include_router(bridge_routes(bridge, feed))
    _add_pages(app, bridge_link or bridge.url)
    _add_error_handlers(app)
    inner = Recorder(Misbehaviour(app, faults, connections), log)
    guarded = HostGuard(
        inner, server="this server", loopback_only=loopback_only, short_names=short_names
    )
    return PageHeaders(guarded)


def _add_pages(app: FastAPI, bridge_url: str | None) -> None:
    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/api/dev/info")
    async def info() -> JSONResponse:
        return JSONResponse({"bridge_url": bridge_url})

    @app.get("/", include_in_schema=False)
    async def list_page() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/jobs/{job_id}", include_in_schema=False)
    async def job_page(job_id: str) -> Response:
        return FileResponse(STATIC / "job.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", _Static(directory=STATIC))


class _Static(StaticFiles):
    """Static files that a browser asks about again each time: no stale page after an upgrade."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]  # passed on
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        problems = (
            ".".join(str(part) for part in item["loc"]) + ": " + item["msg"]
            for item in error.errors()
        )
        return ApiError(400, "Invalid request", "; ".join(problems)).response()

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return ApiError(500, "Internal server error").response()
