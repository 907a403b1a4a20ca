"""Error responses of the bridge: every error as JSON.

Whichever of `error`, `message` and `detail` a client reads, it finds a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match

from backend_bridge.intake.admission import AdmissionRefused
from trainyard.contract.request import FieldProblem, RequestInvalid
from trainyard.redis_check.troubles import trouble_of


class ErrorAnswer(BaseModel):
    """A refusal: the same sentence under each name that a client may read.

    Some add fields for programs: ``errors`` names every wrong field of a request.
    """

    model_config = ConfigDict(extra="allow")

    success: Annotated[bool, Field(examples=[False])]
    error: str
    message: str
    detail: str
    errors: list[FieldProblem] | None = None


_SENTENCES = {
    400: "The body is no JSON.",
    401: "The API key is missing or wrong.",
    403: "Without BRIDGE_API_KEY: the request names no loopback host, or another web page made it.",
    404: "There is no such job, or no such file of it here.",
    405: "The path has other methods only.",
    409: "The job is not in a state for this, or the limit of jobs is reached.",
    413: "The request is larger than MAX_REQUEST_MB.",
    422: "Parameters or fields are wrong; every one is named.",
    500: "A defect of the bridge; its log says more.",
    503: "Redis cannot be reached.",
}
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_OF_EVERY_ROUTE = (401, 403, 405, 500, 503)

_ROUTERS_OWN = ("Not Found", "Method Not Allowed")


def error_body(sentence: str, **more: Any) -> dict[str, Any]:
    """Body of a refusal. ``more`` are fields for programs."""
    return {"success": False, "error": sentence, "message": sentence, "detail": sentence, **more}


def error_answers(*statuses: int, key: bool = True) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route: ``statuses``, and the refusals that any route may answer with.

    ``key``: whether it asks for the API key.
    """
    possible = {*statuses, *_OF_EVERY_ROUTE} - (set() if key else {401})
    return {
        status: {"model": ErrorAnswer, "description": _SENTENCES[status]}
        for status in sorted(possible)
    }


def _answer(
    status: int, sentence: str, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    return JSONResponse(error_body(sentence, **more), status, headers)


def _http_error(request: Request, error: StarletteHTTPException) -> JSONResponse:
    sentence = str(error.detail)
    if sentence in _ROUTERS_OWN:
        what = f"{request.method} {request.url.path}"
        sentence = f"the bridge has no route {what}; /docs shows them all"
    if error.status_code == 405:
        return _answer(405, sentence, {"Allow": ", ".join(_methods_there(request))})
    return _answer(error.status_code, sentence, error.headers)


def _methods_there(request: Request) -> list[str]:
    """All methods of the path: the router names those of the first of its routes only."""

    def is_there(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in _METHODS if is_there(method)]


def _wrong_parameter(_: Request, error: RequestValidationError) -> JSONResponse:
    problems = [FieldProblem.of(item) for item in error.errors()]
    errors = [problem.model_dump() for problem in problems]
    return _answer(422, "; ".join(map(str, problems)), errors=errors)


def _invalid(_: Request, error: RequestInvalid) -> JSONResponse:
    return _answer(422, str(error), errors=[p.model_dump() for p in error.problems])


def _not_admitted(_: Request, error: AdmissionRefused) -> JSONResponse:
    return _answer(409, str(error))


def _no_redis(_: Request, error: RedisError) -> JSONResponse:
    trouble = trouble_of(error)
    known = f"Redis cannot be reached ({type(error).__name__})"  # its text may hold an address
    return _answer(503, f"{known if trouble.kind == 'away' else trouble.sentence}; try again soon")


def _defect(_: Request, error: Exception) -> JSONResponse:
    return _answer(500, f"a defect of the bridge ({type(error).__name__}); its log says more")


ERROR_HANDLERS: dict[int | type[Exception], Any] = {
    StarletteHTTPException: _http_error,
    RequestValidationError: _wrong_parameter,
    RequestInvalid: _invalid,
    AdmissionRefused: _not_admitted,
    RedisError: _no_redis,
    Exception: _defect,
}
"""``exception_handlers`` of the application: every exception becomes :func:`error_body`."""
