"""Keeps other web sites out, and the page to its own resources."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend_bridge.api.guards import is_loopback, is_short_name

from .wire import ApiError

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


_DOCKER_HOST = "host.docker.internal"
"""How a container on Docker Desktop reaches what listens on its host's loopback."""


class Guard:
    """ASGI middleware against pages of other sites in the user's own browser.

    Where the server is reached on loopback alone, a request must name loopback as its host (a name
    that was rebound to 127.0.0.1 does not), or with ``short_names`` a container's name; a request
    that carries an ``Origin`` must carry ours.
    """

    def __init__(self, app: ASGIApp, *, loopback_only: bool, short_names: bool = False) -> None:
        self._app = app
        self._loopback_only = loopback_only
        self._short_names = short_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        app = self._app if refusal is None else refusal.response()
        await app(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers) -> ApiError | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            foreign = origin is not None and urlsplit(origin).netloc != host
        except ValueError:
            return ApiError(403, "The Host or Origin header is no address")
        if self._loopback_only and not self._is_ours(name):
            return ApiError(403, "This server answers to localhost alone")
        if foreign:
            return ApiError(403, "Requests of other sites are refused")
        return None

    def _is_ours(self, name: str) -> bool:
        short = self._short_names and is_short_name(name)
        return short or is_loopback(name) or name == _DOCKER_HOST
