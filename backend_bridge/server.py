"""Server of the bridge: what the backend calls on us, over HTTP.

Every error is JSON whose ``error`` is one sentence. Without ``BRIDGE_API_KEY`` the bridge
serves loopback addresses only, or refuses to start.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys

import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from backend_bridge.api import (
    docs_routes,
    openapi,
)
from backend_bridge.api.context import Bridge
from backend_bridge.api.error_responses import ERROR_HANDLERS
from backend_bridge.api.guards import HostGuard, KeyGuard, is_loopback
from backend_bridge.api.slow_clients import RequestDeadline
from backend_bridge.courier_child import with_courier
from backend_bridge.routers import add_routes
from trainyard import __version__
from trainyard.contract.error_tree import TrainyardError
from trainyard.home import keep_private
from trainyard.local.old_names import unread_names
from trainyard.redis_check.suitability import check
from trainyard.service_logs import log_to_stderr
from trainyard.settings import Settings, SettingsError, settings

logger = logging.getLogger(__name__)


def make_app(settings: Settings) -> FastAPI:
    """The bridge as an ASGI application. Raises SettingsError if it would stand open."""
    _refuse_to_stand_open(settings)
    app = FastAPI(
        title="Trainyard bridge",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=with_courier,
        exception_handlers=ERROR_HANDLERS,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.bridge = Bridge(settings)
    _add_guards(app, settings)
    app.mount(docs_routes.ASSETS_PATH, docs_routes.assets)
    add_routes(app, app.state.bridge)
    described = functools.cache(lambda: openapi.document(app))  # 0.1 s, and few ask for it
    app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way
    return app


def _add_guards(app: FastAPI, settings: Settings) -> None:
    """Middlewares, not dependencies: they stand before the routing too, so no path is forgotten."""
    origins = settings.bridge_cors_origins
    if settings.bridge_api_key is not None:
        app.add_middleware(KeyGuard, key=settings.bridge_api_key)
    else:
        app.add_middleware(
            HostGuard,
            server="without BRIDGE_API_KEY the bridge",
            # A browser reaches a container by the host's name; other containers by the container's.
            short_names=settings.bridge_published_on is not None,
            origins=origins,
        )
    if origins:  # the outermost: a browser asks first, without the key, and reads refusals too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Content-Disposition"],
        )


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


def _seen(_: int, __: object) -> None:
    """Of a signal that has done its work."""


def main() -> int:
    """Serve on BRIDGE_HOST and BRIDGE_PORT until SIGTERM, with a courier beside it."""
    keep_private()
    log_to_stderr("bridge")
    try:
        current = settings()
        app = make_app(current)
        for warning in check(current.redis_location):
            logger.warning(warning, extra={"action": "check_redis"})
        for sentence in unread_names(os.environ):
            logger.warning(sentence, extra={"action": "old_name"})
    except TrainyardError as error:
        print(f"bridge: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _seen)  # uvicorn raises it again when all is done: no error
    uvicorn.run(
        app,
        host=current.bridge_host,
        port=current.bridge_port,
        http=RequestDeadline,
        ws="none",
        log_level="warning",
        log_config=None,  # ours, which says what repeats once a minute
        workers=1,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
