"""Guards of the bridge and of the development backend: whose requests are let in.

A browser sends what any page tells it to, also to 127.0.0.1. So a server without a key, reached on
loopback, takes only requests that name a loopback host (which DNS rebinding does not), and of those
that a page made only its own pages', or those of pages that its operator named. Within one network
of containers its own names there are as good.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from backend_bridge.api.error_responses import error_body

OWN_NAMES = frozenset({"bridge", "backend", "dev-backend", socket.gethostname().lower()})
"""Of docker-compose.yml: a neighbour on the network may answer for any other short name."""
DOCKER_HOST = "host.docker.internal"
"""How a container on Docker Desktop reaches what listens on its host's loopback."""


class HostGuard:
    """ASGI middleware; answers 403 with a sentence, of which ``server`` is the subject.

    ``loopback_only``: a request must name a loopback host, or with ``short_names`` ours in the
    network of containers.
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
            if origin is None:
                foreign = _is_of_another_site(headers)
        except ValueError:
            return "the Host or Origin header is no address"
        if self.loopback_only and not self._is_ours(name):
            return f"{self.server} answers to loopback names only"
        if foreign:
            return f"{self.server} takes no requests from other web pages"
        return None

    def _is_ours(self, name: str) -> bool:
        short = self.short_names and name in OWN_NAMES
        return short or is_loopback(name) or name == DOCKER_HOST


OPEN = frozenset({"/health", "/health/live", "/health/ready"})
STRANGER = "trainyard.stranger"
"""In a request's scope: whether it came without the key that others need."""

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
        stranger = scope["type"] == "http" and not self._is_given(scope)
        if stranger and scope["path"] not in OPEN:
            body = error_body(_NO_KEY)
            await JSONResponse(body, status_code=401)(scope, receive, send)
        else:
            scope[STRANGER] = stranger
            await self.app(scope, receive, send)

    def _is_given(self, scope: Scope) -> bool:
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        given = f"{scheme.capitalize()} {key}"  # of a scheme the case does not count (RFC 9110)
        return hmac.compare_digest(given.encode(), self.expected)


def _is_of_another_site(headers: Headers) -> bool:
    """Of a request without an Origin: a page made it, by what a browser says of it.

    A link that somebody follows is let in: nothing is changed by one.
    """
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
    followed = mode == "navigate" and headers.get("sec-fetch-dest") == "document"
    return site in ("cross-site", "same-site") and not followed


def is_loopback(host: str) -> bool:
    """Of a host name or an address that something listens on or is asked by."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
