"""Keeps web pages away from a bridge that asks for no key.

A browser sends what any page tells it to, also to 127.0.0.1. So without ``BRIDGE_API_KEY`` a
request must name a loopback host (which DNS rebinding does not), and one that a page made must
come from the bridge's own origin. Within one network of containers names without a dot are as
good: no public name server answers for them.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from backend_bridge.error_answers import error_body
from backend_bridge.loopback import is_short_name

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "host.docker.internal"})


class HostGuard:
    """ASGI middleware; answers 403 with a sentence."""

    def __init__(self, app: ASGIApp, own_host: str, *, short_names: bool) -> None:
        self.app = app
        self.short_names = short_names
        self.names = LOOPBACK_NAMES | {own_host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))):
            await JSONResponse(error_body(refusal), status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname
            foreign = origin is not None and urlsplit(origin).netloc != host
        except ValueError:
            return "the Host or Origin header is no address"
        short = self.short_names and name is not None and is_short_name(name)
        if name not in self.names and not short:
            return "without BRIDGE_API_KEY the bridge answers to loopback names alone"
        if foreign:
            return "without BRIDGE_API_KEY the bridge takes no requests from other web pages"
        return None
