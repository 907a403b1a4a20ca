"""Asks for ``BRIDGE_API_KEY`` on every path but ``/health``, one that does not exist included.

It stands before the routes, so that none can be forgotten, the pages at ``/docs`` and the schema
neither: a stranger learns no version and is served no page.
"""

from __future__ import annotations

import hmac

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from backend_bridge.error_answers import error_body

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
