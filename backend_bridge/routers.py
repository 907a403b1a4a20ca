"""Routes of the bridge, in the order in which they are asked, and the times that they take."""

from __future__ import annotations

from fastapi import FastAPI

from backend_bridge.api import control_routes, docs_routes, file_routes, job_routes
from backend_bridge.api.context import Bridge
from backend_bridge.api.generation import routes as generation_routes
from backend_bridge.api.monitoring import routes as monitoring_routes
from backend_bridge.api.monitoring.request_times import RequestTimer
from backend_bridge.api.queueing import groups as group_routes
from backend_bridge.api.queueing import routes as queueing_routes
from backend_bridge.api.usage import routes as usage_routes
from backend_bridge.openai_api import routes as openai_routes

ROUTERS = tuple(
    routes.router
    for routes in (
        docs_routes,
        monitoring_routes,
        job_routes,
        queueing_routes,
        group_routes,
        control_routes,
        file_routes,
        generation_routes,
        usage_routes,
    )
)


def add_routes(app: FastAPI, bridge: Bridge) -> None:
    """After the guards: what they refuse is timed too."""
    for router in ROUTERS:
        app.include_router(router)
    openai_routes.add_routes(app)
    app.add_middleware(RequestTimer, times=bridge.request_times)
