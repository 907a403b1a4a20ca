"""Guards of the bridge and of the development backend: whose requests are let in.

A browser sends what any page tells it to, also to 127.0.0.1. So a server without a key, reached on
loopback, takes only requests that name a loopback host (which DNS rebinding does not), and of those
that a page made only its own pages', or those of pages that its operator named. Within one network
of containers names without a dot are as good: no public name server answers for them.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from backend_bridge.api.error_responses import error_body

DOCKER_HOST = "host.docker.internal"
"""How a container on Docker Desktop reaches what listens on its host's loopback."""


class HostGuard:
    """ASGI middleware; answers 403 with a sentence, of which ``server`` is the subject.

    ``loopback_only``: a request must name a loopback host, or with ``short_names`` a container's.
    ``origins``: other web pages that may ask.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        server: str,
        loopback_only: bool = True,
        short_names: bool = False,
        origins: Collection[str] = (),
    ) -> None:
        self.app = app
        self.server = server
        self.loopback_only = loopback_only
        self.short_names = short_names
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))):
            await JSONResponse(error_body(refusal), status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            known = origin is None or origin in self.origins
            foreign = not known and urlsplit(origin).netloc != host
        except ValueError:
            return "the Host or Origin header is no address"
        if self.loopback_only and not self._is_ours(name):
            return f"{self.server} answers to loopback names only"
        if foreign:
            return f"{self.server} takes no requests from other web pages"
        return None

    def _is_ours(self, name: str) -> bool:
        short = self.short_names and is_short_name(name)
        return short or is_loopback(name) or name == DOCKER_HOST


OPEN = "/health"

_NO_KEY = (
    "the bridge's API key is missing or wrong: set BRIDGE_API_KEY to the bridge's own for "
    "`trainyard`, or send it as `Authorization: Bearer <key>`"
)


class KeyGuard:
    """ASGI middleware; answers 401 with a sentence."""

    def __init__(self, app: ASGIApp, key: SecretStr) -> None:
        self.app = app
        self.expected = f"Bearer {key.get_secret_value()}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != OPEN and not self._is_given(scope):
            body = error_body(_NO_KEY)
            await JSONResponse(body, status_code=401)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_given(self, scope: Scope) -> bool:
        given = Headers(scope=scope).get("authorization", "")
        return hmac.compare_digest(given.encode(), self.expected)


def is_loopback(host: str) -> bool:
    """Of a host name or an address that something listens on or is asked by."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_short_name(host: str) -> bool:
    """Of a name without a dot, as containers call each other: no public name server knows it."""
    return re.fullmatch("[a-z0-9_-]+", host) is not None
