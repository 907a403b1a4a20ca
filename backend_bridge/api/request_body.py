"""Request bodies: read no further than they may be long, and the models of the small ones."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, StrictBool, StrictStr, ValidationError
from starlette.requests import ClientDisconnect

from backend_bridge.intake.admission import too_large
from trainyard.contract.fields.bounded_json import loads
from trainyard.contract.units import MB

SMALL_BODY_MB = 1.0
Body = TypeVar("Body", bound=BaseModel)


class CancelBody(BaseModel):
    """``force``: kill a running job's processes at once."""

    force: StrictBool | None = None


class ResumeBody(BaseModel):
    """``checkpoint_path``: go on from this one, not from the latest."""

    checkpoint_path: StrictStr | None = None


async def json_body(request: Request, limit_mb: float, *, empty: Any = None) -> Any:
    """The decoded body, ``empty`` if there is none and that is not None.

    Answers 413 past the limit (read no further) and 400 for no JSON, or for a compressed one.
    Raises RequestInvalid if it holds too many values.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise HTTPException(400, f"the request body is encoded ({encoding[:40]}): send it plain")
    limit = int(limit_mb * MB)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise HTTPException(413, too_large(limit_mb))
    except ClientDisconnect:
        raise HTTPException(400, "the client left before it had sent its request") from None
    if not body and empty is not None:
        return empty
    try:
        return await run_in_threadpool(loads, body)
    except ValueError as error:
        raise HTTPException(400, f"the request body is no JSON: {error}") from None
    except RecursionError:
        raise HTTPException(400, "the request body is nested too deeply") from None


async def optional_body(request: Request, model: type[Body]) -> Body:
    """A small body, which may be left out or be null. Answers 422 for wrong fields too."""
    body = await json_body(request, SMALL_BODY_MB, empty={})
    try:
        return model.model_validate({} if body is None else body)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
