"""Routes of the documentation page: Swagger UI from a bundled package, so that it needs no network.

They are not in the OpenAPI document themselves.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

ASSETS_PATH = "/docs-assets"
assets = StaticFiles(directory=swagger_ui_path)
_NOT_FRAMED = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""A page with buttons that act: another one around it would have them clicked."""
router = APIRouter(include_in_schema=False)


@router.get("/")
def root() -> RedirectResponse:
    return RedirectResponse("/docs")


@router.get("/docs/openapi.json")
def document_for_the_page(request: Request) -> dict[str, Any]:
    return {**request.app.openapi(), "openapi": "3.0.3"}  # the newest that the bundled page renders


@router.get("/docs")
def page() -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url="/docs/openapi.json",
        title="Trainyard bridge",
        swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS_PATH}/favicon-32x32.png",
    )
    page.headers.update(_NOT_FRAMED)
    return page
