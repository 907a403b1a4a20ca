"""The bridge: what the backend calls on us, over HTTP.

Every error is JSON whose ``error`` is one sentence. Without ``BRIDGE_API_KEY`` the bridge
serves loopback addresses alone, or refuses to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from celery import Celery
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

from backend_bridge.api import openapi
from backend_bridge.api.context import Bridge
from backend_bridge.api.control_routes import add_control
from backend_bridge.api.error_responses import add_error_answers
from backend_bridge.api.file_routes import add_files
from backend_bridge.api.guards import HostGuard, KeyGuard, is_loopback
from backend_bridge.api.job_routes import add_health, add_prometheus, add_reads, add_start
from backend_bridge.api.slow_clients import RequestDeadline
from trainyard import __version__
from trainyard.child_process import ChildProcess, python_module
from trainyard.contract.error_tree import TrainyardError
from trainyard.settings import Settings, SettingsError, settings
from trainyard.store.connection import check, connect

COURIER_STOP_TIMEOUT_S = 15.0
log = logging.getLogger(__name__)


def make_app(settings: Settings) -> FastAPI:
    """The bridge as an ASGI application. Raises SettingsError where it would stand open."""
    _refuse_to_stand_open(settings)
    redis = connect(settings.redis_location)
    celery = Celery("bridge")
    celery.config_from_object("celeryconfig")
    bridge = Bridge(settings, redis, celery)

    app = FastAPI(
        title="Trainyard bridge",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=_with_courier,
    )
    app.state.bridge = bridge
    if settings.bridge_api_key is None:
        # A browser reaches a container by the host's name; other containers by the container's.
        inside = settings.bridge_published_on is not None
        app.add_middleware(HostGuard, own_host=settings.bridge_host, short_names=inside)
    else:
        app.add_middleware(KeyGuard, key=settings.bridge_api_key)
    add_error_answers(app)
    _add_docs(app)
    add_health(app, bridge)
    add_prometheus(app, bridge)
    add_start(app, bridge)
    add_reads(app, bridge)
    add_control(app, bridge)
    add_files(app, bridge)
    described = openapi.document(app)
    app.openapi = lambda: described  # type: ignore[method-assign]  # FastAPI's own way
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
    if settings.bridge_api_key is not None:
        return
    name, address = "BRIDGE_HOST", settings.bridge_host
    if settings.bridge_published_on is not None:
        name, address = "BRIDGE_PUBLISHED_ON", settings.bridge_published_on
    if not is_loopback(address):
        raise SettingsError(
            f"{name}={address} is reachable from other machines: "
            f"set BRIDGE_API_KEY, or {name}=127.0.0.1"
        )


def _add_docs(app: FastAPI) -> None:
    app.mount("/docs-assets", StaticFiles(directory=swagger_ui_path))

    @app.get("/", include_in_schema=False)
    def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.get("/docs/openapi.json", include_in_schema=False)
    def for_the_page() -> dict[str, Any]:
        return {**app.openapi(), "openapi": "3.0.3"}  # the newest that the bundled page renders

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/docs/openapi.json",
            title="Trainyard bridge",
            swagger_js_url="/docs-assets/swagger-ui-bundle.js",
            swagger_css_url="/docs-assets/swagger-ui.css",
            swagger_favicon_url="/docs-assets/favicon-32x32.png",
        )


def main() -> int:
    """Serve on BRIDGE_HOST and BRIDGE_PORT until SIGTERM, with a courier beside it."""
    logging.basicConfig(level=logging.INFO, format="bridge %(levelname)s %(message)s")
    try:
        current = settings()
        app = make_app(current)
        for warning in check(connect(current.redis_location)):
            log.warning(warning)
    except TrainyardError as error:
        print(f"bridge: {error}", file=sys.stderr)
        return 2
    uvicorn.run(
        app,
        host=current.bridge_host,
        port=current.bridge_port,
        http=RequestDeadline,
        ws="none",
        log_level="warning",
        workers=1,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
