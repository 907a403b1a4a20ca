"""The bridge: what the backend calls on us, over HTTP.

Every error is JSON whose ``error`` is one sentence. Without ``BRIDGE_API_KEY`` the bridge
serves loopback addresses alone, or refuses to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import logging
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Annotated, Any

import uvicorn
from celery import Celery
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from redis import Redis
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException as StarletteHTTPException
from swagger_ui_bundle import swagger_ui_path

from backend_bridge.admit import Admission, JobIdTaken, LimitReached
from backend_bridge.cancel import cancel
from backend_bridge.child_process import ChildProcess, python_module
from backend_bridge.contract import RequestInvalid
from backend_bridge.event_log import EventLog
from backend_bridge.job_record import Job
from backend_bridge.job_store import JobStore
from backend_bridge.job_view import status_view
from backend_bridge.queue import JobQueue
from backend_bridge.redis_connection import UnsuitableRedis, check, connect
from backend_bridge.settings import Settings, SettingsError, settings
from backend_bridge.slots import SlotRegistry

LOG_LINES_MAX = 100_000
COURIER_STOP_TIMEOUT_S = 15.0
log = logging.getLogger(__name__)


class Bridge:
    """What the routes work with."""

    def __init__(self, settings: Settings, redis: Redis, celery: Celery) -> None:
        self.settings = settings
        self.store = JobStore(
            redis,
            lease_s=settings.lease_seconds,
            log_lines_kept=settings.log_lines_kept,
            max_restarts=settings.max_restarts,
        )
        self.queue = JobQueue(celery, redis)
        self.slots = SlotRegistry(redis)
        self.events = EventLog(redis)
        self.admission = Admission(
            self.store, self.queue, slots=self.slot_count, max_queued=settings.max_queued_jobs
        )

    def slot_count(self) -> int:
        """Slots that are alive, and no fewer than the settings promise."""
        return max(len(self.slots.alive()), self.settings.slots or 1)

    def job(self, job_id: str) -> Job:
        job = self.store.get(job_id)
        if job is None:
            raise HTTPException(404, f"there is no job {job_id!r}")
        return job


def make_app(settings: Settings) -> FastAPI:
    """The bridge as an ASGI application. Raises SettingsError where it would stand open."""
    _refuse_to_stand_open(settings)
    redis = connect(settings.redis_location)
    celery = Celery("bridge")
    celery.config_from_object("celeryconfig")
    bridge = Bridge(settings, redis, celery)

    app = FastAPI(
        title="Trainyard bridge",
        version=version("trainyard"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=_with_courier,
    )
    app.openapi_version = "3.0.3"  # the newest that the bundled page renders
    app.state.bridge = bridge
    _add_error_answers(app)
    _add_docs(app)
    guard = [Depends(_require_key(settings))]
    _add_health(app, bridge)
    _add_start(app, bridge, guard)
    _add_reads(app, bridge, guard)
    _add_cancel(app, bridge, guard)
    return app


@contextlib.asynccontextmanager
async def _with_courier(_: FastAPI) -> AsyncIterator[None]:
    courier = ChildProcess("courier", python_module("backend_bridge.courier"))
    courier.start()

    async def watch() -> None:
        while True:
            await asyncio.sleep(1)
            courier.ensure_running()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await run_in_threadpool(courier.stop, COURIER_STOP_TIMEOUT_S)


def _refuse_to_stand_open(settings: Settings) -> None:
    if settings.bridge_api_key is not None or settings.bridge_host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(settings.bridge_host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise SettingsError(
            f"BRIDGE_HOST={settings.bridge_host} is reachable from other machines: "
            "set BRIDGE_API_KEY, or serve 127.0.0.1"
        )


def _require_key(settings: Settings) -> Any:
    key = settings.bridge_api_key

    def require_key(request: Request) -> None:
        if key is None:
            return
        given = request.headers.get("authorization", "")
        expected = f"Bearer {key.get_secret_value()}"
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise HTTPException(401, "the bridge's API key is missing or wrong")

    return require_key


def _add_error_answers(app: FastAPI) -> None:
    def answer(status: int, sentence: str, **more: Any) -> JSONResponse:
        # `message` too: the backend reads it from cancel's answers, whatever their status.
        body = {"success": False, "error": sentence, "message": sentence, **more}
        return JSONResponse(body, status_code=status)

    @app.exception_handler(StarletteHTTPException)
    def http_error(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def wrong_parameter(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = [
            {"path": ".".join(str(p) for p in e["loc"]), "message": e["msg"]}
            for e in error.errors()
        ]
        sentence = "; ".join(f"{p['path']}: {p['message']}" for p in problems)
        return answer(422, sentence, errors=problems)

    @app.exception_handler(RequestInvalid)
    def invalid(_: Request, error: RequestInvalid) -> JSONResponse:
        return answer(422, str(error), errors=[p.model_dump() for p in error.problems])

    @app.exception_handler(JobIdTaken)
    @app.exception_handler(LimitReached)
    def refused(_: Request, error: Exception) -> JSONResponse:
        return answer(409, str(error))

    @app.exception_handler(RedisError)
    def no_redis(_: Request, error: RedisError) -> JSONResponse:
        return answer(503, f"Redis cannot be reached ({type(error).__name__}); try again soon")

    @app.exception_handler(Exception)
    def defect(_: Request, error: Exception) -> JSONResponse:
        return answer(500, f"a defect of the bridge ({type(error).__name__}); its log says more")


def _add_docs(app: FastAPI) -> None:
    app.mount("/docs-assets", StaticFiles(directory=swagger_ui_path))

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Trainyard bridge",
            swagger_js_url="/docs-assets/swagger-ui-bundle.js",
            swagger_css_url="/docs-assets/swagger-ui.css",
            swagger_favicon_url="/docs-assets/favicon-32x32.png",
        )


def _add_health(app: FastAPI, bridge: Bridge) -> None:
    @app.get("/health", tags=["health"])
    def health() -> dict[str, Any]:
        """Whether the bridge reaches Redis, which slots are alive, and how many jobs run."""
        slots = bridge.slots.alive()
        gpus = [gpu for slot in slots for gpu in slot.info.get("gpus", [])]
        return {
            "status": "ok",
            "gpu_available": bool(gpus),
            "gpu_info": gpus or None,
            "active_jobs": len(bridge.store.occupying()),
            "queued_jobs": len(bridge.store.waiting()),
            "slots": [slot.name for slot in slots],
            "version": app.version,
        }


async def _json_body(request: Request, limit_mb: float, *, empty: Any = None) -> Any:
    """The decoded body, ``empty`` where there is none and that is not None.

    Answers 413 past the limit (read no further) and 400 for no JSON.
    """
    limit = int(limit_mb * 1_000_000)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"the request is larger than {limit_mb:g} MB (MAX_REQUEST_MB)")
    if not body and empty is not None:
        return empty
    try:
        return json.loads(body)
    except ValueError as error:
        raise HTTPException(400, f"the request body is no JSON: {error}") from None
    except RecursionError:
        raise HTTPException(400, "the request body is nested too deeply") from None


def _add_start(app: FastAPI, bridge: Bridge, guard: list[Any]) -> None:
    @app.post("/api/training/execute", tags=["jobs"], dependencies=guard)
    async def execute(request: Request) -> dict[str, Any]:
        """Admit a job: validate, count, store, enqueue. The same request again is the same job.

        409 where the job id belongs to another request or the job limit is reached, 422 with
        every wrong field, 413 past the size limit, 400 for a body that is no JSON.
        """
        body = await _json_body(request, bridge.settings.max_request_mb)
        admitted = await run_in_threadpool(bridge.admission.admit, body)
        return {
            "success": True,
            "job_id": admitted.job_id,
            "status": admitted.status,
            "queue_position": admitted.queue_position,
            "ignored": admitted.ignored,
        }


def _add_reads(app: FastAPI, bridge: Bridge, guard: list[Any]) -> None:
    @app.get("/api/training/status/{job_id}", tags=["jobs"], dependencies=guard)
    def status(job_id: str) -> dict[str, Any]:
        """Everything that is known of one job; what is not known is null."""
        return status_view(bridge.job(job_id), bridge.store.queue_position(job_id))

    @app.get("/api/training/logs/{job_id}", tags=["jobs"], dependencies=guard)
    def logs(
        job_id: str,
        limit: Annotated[int, Query(ge=0, le=LOG_LINES_MAX)] = 100,
        offset: int = 0,
    ) -> dict[str, Any]:
        """Log lines, the same strings that the backend gets; a negative offset is from the end."""
        bridge.job(job_id)
        page = bridge.events.logs(job_id, limit=limit, offset=offset)
        return {
            "job_id": job_id,
            "logs": page.lines,
            "total_lines": page.total_lines,
            "lines_cut": page.lines_cut,
            "offset": page.offset,
            "limit": limit,
        }

    @app.get("/api/training/metrics/{job_id}", tags=["jobs"], dependencies=guard)
    def metrics(job_id: str) -> dict[str, Any]:
        """Every metric point of the job, oldest first."""
        bridge.job(job_id)
        return {"job_id": job_id, "metrics": bridge.events.metrics(job_id)}

    @app.get("/api/training/jobs", tags=["jobs"], dependencies=guard)
    def jobs() -> dict[str, Any]:
        """All jobs, newest first."""
        positions = {job_id: i for i, job_id in enumerate(bridge.store.waiting(), start=1)}
        found = reversed(bridge.store.jobs())
        return {"jobs": [status_view(job, positions.get(job.job_id)) for job in found]}

    @app.get("/api/training/queue", tags=["jobs"], dependencies=guard)
    def queue() -> dict[str, Any]:
        """What runs, and what waits with its position."""
        running = bridge.store.jobs(bridge.store.occupying())
        waiting = bridge.store.waiting()
        return {
            "running": [
                {"job_id": job.job_id, "status": job.status, "slot": job.slot} for job in running
            ],
            "queued": [
                {"job_id": job_id, "queue_position": i} for i, job_id in enumerate(waiting, start=1)
            ],
            "slots": [slot.name for slot in bridge.slots.alive()],
        }


def _add_cancel(app: FastAPI, bridge: Bridge, guard: list[Any]) -> None:
    @app.post("/api/training/cancel/{job_id}", tags=["jobs"], dependencies=guard)
    async def cancel_job(job_id: str, request: Request) -> JSONResponse:
        """Cancel a job. An optional body ``{"force": true}`` kills a running one at once."""
        body = await _json_body(request, 1, empty={})
        force = isinstance(body, dict) and body.get("force") is True
        done = await run_in_threadpool(cancel, bridge.store, bridge.queue, job_id, force=force)
        code = 200 if done.success else 404 if done.previous_status is None else 409
        return JSONResponse(
            {
                "success": done.success,
                "message": done.message,
                "job_id": job_id,
                "previous_status": done.previous_status,
            },
            status_code=code,
        )


def main() -> int:
    """Serve on BRIDGE_HOST and BRIDGE_PORT until SIGTERM, with a courier beside it."""
    logging.basicConfig(level=logging.INFO, format="bridge %(levelname)s %(message)s")
    try:
        current = settings()
        app = make_app(current)
        for warning in check(connect(current.redis_location)):
            log.warning(warning)
    except (SettingsError, UnsuitableRedis, RedisError) as error:
        print(f"bridge: {error}", file=sys.stderr)
        return 2
    uvicorn.run(
        app, host=current.bridge_host, port=current.bridge_port, log_level="warning", workers=1
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
