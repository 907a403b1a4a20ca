"""Routers of the bridge, in the order in which they are asked."""

from __future__ import annotations

from backend_bridge.api import control_routes, docs_routes, file_routes, health_routes, job_routes

ROUTERS = tuple(
    routes.router
    for routes in (docs_routes, health_routes, job_routes, control_routes, file_routes)
)
