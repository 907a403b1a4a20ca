"""Wire format of the development backend: strict JSON in, JSON errors out, no secret kept."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.fields.clean_urls import clean_url
from trainyard.contract.fields.secret_fields import SECRET_KEY

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
REDACTED = "[redacted]"


class ApiError(TrainyardError):
    """An error as the caller reads it: ``{"error": ..., "details"?: ...}`` with a status."""

    def __init__(self, status: int, error: str, details: str | None = None) -> None:
        self.status = status
        self.body = {"error": error} if details is None else {"error": error, "details": details}
        super().__init__(error)

    def response(self) -> JSONResponse:
        """The answer that carries this error."""
        return JSONResponse(self.body, self.status)


def parse_json(body: bytes) -> Any:
    """Decode a request body as strictly as JavaScript does.

    NaN, Infinity and numbers too large for a double are refused; lone surrogates, which no
    UTF-8 text can hold, become U+FFFD. Raises ApiError 400.
    """
    try:
        text = body.decode("utf-8")
        return _storable(json.loads(text, parse_constant=_refuse, parse_float=_finite))
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "The body is not valid JSON", str(error)[:200]) from None


def parse_object(body: bytes) -> dict[str, Any]:
    """Decode a request body that must be a JSON object. Raises ApiError 400."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise ApiError(400, "The body should be a JSON object")
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large a number")
    return number


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_storable(key): _storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    return value


def redact(value: Any, *, urls: bool = True) -> Any:
    """A copy of decoded JSON in which no value stands under a key that names a secret.

    ``urls``: what gives access in a data set's URL is left out, too.
    """
    if isinstance(value, Mapping):
        return {
            key: REDACTED if inner and SECRET_KEY.search(key) else redact(inner, urls=urls)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [redact(inner, urls=urls) for inner in value]
    return clean_url(value) if urls and isinstance(value, str) else value


def token_digest(token: str) -> str:
    """What is stored of a token: its SHA-256, in hex."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def bearer_token(authorization: str | None) -> str | None:
    """The token of an ``Authorization`` header, or None if it holds none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
