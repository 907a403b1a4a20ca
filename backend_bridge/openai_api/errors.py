"""Errors as OpenAI's clients read them: ``{"error": {"message", "type", "param", "code"}}``.

Routes below ``/v1`` refuse as all of the bridge do, and so do its guards; what they say is put into
that form on its way out.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainyard.contract.error_tree import TrainyardError

PREFIX = "/v1"
_STATUS_OF = {409: 400, 422: 400}
"""A client tries a 409 again, and for wrong fields it expects a 400."""
_TYPE_OF = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODE_OF = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}


class ApiRefusal(TrainyardError):
    """A refusal with an HTTP status, that names the parameter or has a code for programs."""

    def __init__(
        self, status: int, sentence: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.param = param
        self.code = code


def error_object(
    status: int, sentence: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The body of a refusal."""
    by_status = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": sentence,
            "type": _TYPE_OF.get(status, by_status),
            "param": param,
            "code": code or _CODE_OF.get(status),
        }
    }


async def answer_refusal(_: Request, error: Exception) -> JSONResponse:
    """The exception handler of :class:`ApiRefusal`."""
    assert isinstance(error, ApiRefusal), "it is registered for no other"
    body = error_object(error.status, error.sentence, param=error.param, code=error.code)
    return JSONResponse(body, error.status)


class TheirErrors:
    """ASGI middleware: what is refused below ``/v1``, by whomever, has OpenAI's form."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(f"{PREFIX}/"):
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self.app(scope, receive, answer.send)
        except Exception as error:
            if not answer.begun:
                sentence = f"a defect of the bridge ({type(error).__name__}); its log says more"
                await JSONResponse(error_object(500, sentence), 500)(scope, receive, send)
            raise


class _Answer:
    """An answer on its way: held back and put into words if it is an error."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()
        self.begun = False

    async def send(self, message: Message) -> None:
        """ASGI's ``send``."""
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
        elif self._start is None:
            self.begun = True
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_error(self._start)

    async def _send_error(self, start: Message) -> None:
        status, body = _in_their_form(start["status"], bytes(self._body))
        start["status"] = status
        MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
        self.begun = True
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _in_their_form(status: int, body: bytes) -> tuple[int, bytes]:
    """Status and body, from those of the bridge. What is in their form already stays."""
    said = json.loads(body) if body.startswith(b"{") else {}
    if not isinstance(said.get("error"), str):
        return status, body
    problems = said.get("errors") or []
    param = problems[0]["path"].removeprefix("query.") if problems else None
    status = _STATUS_OF.get(status, status)
    return status, json.dumps(error_object(status, said["error"], param=param)).encode()
