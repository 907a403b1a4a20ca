"""Backend client: the routes of a backend, and what each of their answers means for a sender.

Every call ends in exactly one :data:`Answer`, and raises nothing but programming errors.
The job's token stands in the Authorization header only: no answer, exception or log line
holds it, not even if the backend's own error text repeats it.
"""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import quote, urlsplit

from pydantic import SecretStr
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, NameResolutionError, ProtocolError

from backend_bridge.delivery.messages import BackendMessage
from backend_bridge.delivery.total_timeout import exchange, make_pool
from trainyard.contract.backend_routes import ROUTES

BODY_LIMIT_BYTES = 65536
"""What is read of an answer; the contract's answers are far smaller."""

_REASON_LIMIT = 300
NO_CONTENT = 204
_TEMPORARY = frozenset({408, 425, 429})
_NOT_DONE = _TEMPORARY | {500, 501, 503}
"""A gateway's 502 and 504 tell nothing of the backend behind it."""
_HEADERS = {
    "User-Agent": "trainyard",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Delivered:
    """The backend has it: 2xx with JSON that does not say "success": false, or 204."""


@dataclass(frozen=True)
class TryAgain:
    """It is not known that the backend has it: 5xx, 408, 425, 429, 3xx, no connection, no answer in
    time, half a body, a 2xx that is no JSON. ``retry_after_s``: what it asked for, if so;
    ``not_done``: it said that it has not."""

    reason: str
    retry_after_s: float | None = None
    not_done: bool = False


@dataclass(frozen=True)
class RouteMissing:
    """The backend lacks this endpoint (405). ``route`` names it as the contract does."""

    route: str


@dataclass(frozen=True)
class AccessRefused:
    """401 or 404, with the backend's own sentence: a race at the job's creation, a database that is
    away, or a route that is missing."""

    reason: str
    http_status: int


@dataclass(frozen=True)
class Refused:
    """The backend will never take it, with its own sentence: any other 4xx; of a 413 it may take
    less. None: it was not even asked."""

    reason: str
    http_status: int | None


Answer = Delivered | TryAgain | RouteMissing | AccessRefused | Refused


class BackendClient:
    """Sends one job's status, metric and log requests; for use by one thread at a time.

    ``timeout_s`` bounds a whole request, from connecting to the last byte of the answer.
    Raises ValueError if ``base_url`` is no plain http(s) address.
    """

    def __init__(self, base_url: str, *, timeout_s: float = 10.0) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("BACKEND_URL should be http://host[:port] or https://host[:port]")
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "BACKEND_URL should hold no user or password: they would take the place of "
                "the job's token"
            )
        self.timeout_s = timeout_s
        self._base_path = parts.path.rstrip("/")
        self._pool = make_pool(base_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept-alive connections."""
        self._pool.close()

    def post(
        self, job_id: str, token: SecretStr, message: BackendMessage, *, until: float = math.inf
    ) -> Answer:
        """Make one request. Nothing is sent past ``until`` (time.monotonic())."""
        secret = token.get_secret_value()
        if not _HEADER_SAFE.fullmatch(secret):
            return Refused("the job's token holds characters that no HTTP header can carry", None)
        route = ROUTES[message.endpoint]
        method, _, path = route.partition(" ")
        path = self._base_path + path.format(jobId=quote(job_id, safe=""))
        access = {"Authorization": f"Bearer {secret}", "Idempotency-Key": message.key}
        content = json.dumps(message.body, allow_nan=False).encode()
        until = min(until, time.monotonic() + self.timeout_s)
        try:
            head, body = exchange(
                *(self._pool, method, path, content, _HEADERS | access),
                until=until,
                most=BODY_LIMIT_BYTES,
            )
        except HTTPError as error:
            return TryAgain(_connection_trouble(error, self.timeout_s))
        return _answer(head, body, route, secret)


def _answer(head: BaseHTTPResponse, received: bytes, route: str, secret: str) -> Answer:
    code = head.status
    if code == 405:
        return RouteMissing(route)
    is_json, body = _json_of(received)
    said_no = isinstance(body, dict) and body.get("success") is False
    if code == NO_CONTENT or (200 <= code < 300 and is_json and not said_no):
        return Delivered()
    reason = f"HTTP {code}"
    if 200 <= code < 300 and not is_json:
        reason += ", but its body is no JSON: a proxy's page or half an answer"
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        details = body.get("details")
        told = f"{body['error']} ({details})" if isinstance(details, str) else body["error"]
        told = told.replace(secret, "[token]")[:_REASON_LIMIT]
        # JSON can hold half a surrogate pair, which nothing can store.
        reason = f"{reason}: {told.encode(errors='backslashreplace').decode()}"
    if code in (401, 404):
        return AccessRefused(reason, code)
    if 400 <= code < 500 and code not in _TEMPORARY:
        return Refused(reason, code)
    retry_after_s = _retry_after_s(head.headers.get("Retry-After"))
    return TryAgain(reason, retry_after_s, not_done=code in _NOT_DONE)


def _json_of(received: bytes) -> tuple[bool, Any]:
    """Whether a body is JSON of at most BODY_LIMIT_BYTES, and its value."""
    if len(received) > BODY_LIMIT_BYTES:
        return False, None
    try:
        return True, json.loads(received)
    except (ValueError, RecursionError):
        return False, None


def _retry_after_s(header: str | None) -> float | None:
    """Seconds from a Retry-After header: a number, or an HTTP date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        when: datetime = parsedate_to_datetime(header)
        return max(0.0, when.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _connection_trouble(error: HTTPError, timeout_s: float) -> str:
    """A sentence about a failed exchange; the exception itself holds the request, and so the
    token, and goes no further."""
    text = str(error)
    if "time is over" in text or "timed out" in text:
        return f"no complete answer within {timeout_s:g} s"
    if "refused" in text:
        return "connection refused"
    if isinstance(error, NameResolutionError):
        return "the backend's host name cannot be resolved"
    if isinstance(error, ProtocolError) and "Connection broken" in text:
        return "the answer ended in the middle"
    return f"the connection failed ({type(error).__name__})"
