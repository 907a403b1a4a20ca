"""Backend client: the routes of a backend, and what each of their answers means for a sender.

Every call ends in exactly one answer, and raises nothing but programming errors:

    Answer
     ├ Delivered        2xx with JSON that does not say "success": false, or 204
     ├ TryAgain         not known to have arrived: 5xx, 408, 425, 429, 3xx, no connection, no
     │                  answer in time, half a body, a 2xx that is no JSON
     ├ RouteMissing     405: a backend without this endpoint
     ├ AccessRefused    401 or 404: a race at the job's creation, a database that is away, or a
     │                  route that is missing
     ├ TooLarge         413: less of it may be accepted
     └ Refused          any other 4xx: will never be accepted

The job's token stands in the Authorization header only: no answer, exception or log line
holds it, not even if the backend's own error text repeats it.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from pydantic import SecretStr
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, NameResolutionError, ProtocolError

from backend_bridge.delivery.total_timeout import deadline, make_pool
from trainyard.contract.backend_routes import ROUTES, Endpoint

BODY_LIMIT_BYTES = 65536
"""What is read of an answer; the contract's answers are far smaller."""

_REASON_LIMIT = 300
NO_CONTENT, TOO_LARGE = 204, 413
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
    """The backend has it."""


@dataclass(frozen=True)
class TryAgain:
    """It is not known that the backend has it. ``retry_after_s``: what it asked for, if so;
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
    """401 or 404, with the backend's own sentence."""

    reason: str
    http_status: int


@dataclass(frozen=True)
class TooLarge:
    """413, with the backend's own sentence."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """The backend will never take it, with its own sentence; None: it was not even asked."""

    reason: str
    http_status: int | None


Answer = Delivered | TryAgain | RouteMissing | AccessRefused | TooLarge | Refused


class BackendClient:
    """Sends one job's status, metric and log requests; for use by one thread at a time.

    ``timeout_s`` bounds a whole request, from connecting to the last byte of the answer.
    Raises ValueError where ``base_url`` is no plain http(s) address.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept-alive connections."""
        self._pool.close()

    def patch_status(
        self, job_id: str, token: SecretStr, key: str, status: str, error: str | None = None
    ) -> Answer:
        """``PATCH .../status``. ``key`` goes out as the Idempotency-Key, as in all of them."""
        body = {"status": status} if error is None else {"status": status, "error": error}
        return self._send(job_id, "status", token, key, body)

    def put_metric(
        self, job_id: str, token: SecretStr, key: str, point: Mapping[str, Any]
    ) -> Answer:
        """``PUT .../metrics``. Values that are not finite are left out.

        The backend reads the eval perplexity from ``perplexity``: it goes out under both names.
        """
        return self._send(job_id, "metrics", token, key, _told(point))

    def post_logs(self, job_id: str, token: SecretStr, key: str, lines: Sequence[str]) -> Answer:
        """``POST .../logs``: append ``lines`` in their order."""
        return self._send(job_id, "logs", token, key, {"logs": list(lines)})

    def post_points(
        self, job_id: str, token: SecretStr, key: str, points: Sequence[Mapping[str, Any]]
    ) -> Answer:
        """``POST /metrics``: many points in their order."""
        body = {"job_id": job_id, "metrics": [_told(point) for point in points]}
        return self._send(job_id, "points", token, key, body)

    def post_prediction(
        self, job_id: str, token: SecretStr, key: str, prediction: Mapping[str, Any]
    ) -> Answer:
        """``POST /predictions`` with one of them."""
        body = {"job_id": job_id, "predictions": [prediction]}
        return self._send(job_id, "predictions", token, key, body)

    def post_row(self, job_id: str, token: SecretStr, key: str, row: Mapping[str, Any]) -> Answer:
        """``POST /jobs``: fields of the job's row."""
        return self._send(job_id, "row", token, key, row)

    def _send(
        self, job_id: str, endpoint: Endpoint, token: SecretStr, key: str, body: Any
    ) -> Answer:
        secret = token.get_secret_value()
        if not _HEADER_SAFE.fullmatch(secret):
            return Refused("the job's token holds characters that no HTTP header can carry", None)
        method, _, path = ROUTES[endpoint].partition(" ")
        path = self._base_path + path.format(jobId=quote(job_id, safe=""))
        headers = {**_HEADERS, "Authorization": f"Bearer {secret}", "Idempotency-Key": key}
        content = json.dumps(body, allow_nan=False).encode()
        try:
            with deadline(self.timeout_s):
                response = self._pool.urlopen(
                    method,
                    path,
                    body=content,
                    headers=headers,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
                try:
                    return _read(response, ROUTES[endpoint], secret)
                finally:
                    response.close()  # read to its end, its connection is back in the pool
        except HTTPError as error:
            return TryAgain(_connection_trouble(error, self.timeout_s))


def _read(response: BaseHTTPResponse, route: str, secret: str) -> Answer:
    """Answer for a response whose head has come; reads its body."""
    code = response.status
    if code == 405:
        return RouteMissing(route)
    is_json, body = _json_of(response)
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
    if code == TOO_LARGE:
        return TooLarge(reason)
    if 400 <= code < 500 and code not in _TEMPORARY:
        return Refused(reason, code)
    retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
    return TryAgain(reason, retry_after_s, not_done=code in _NOT_DONE)


def _json_of(response: BaseHTTPResponse) -> tuple[bool, Any]:
    """Whether the body is JSON of at most BODY_LIMIT_BYTES, and its value."""
    received = b""
    for chunk in response.stream(8192):
        received += chunk
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


def _told(point: Mapping[str, Any]) -> dict[str, Any]:
    """A point as it goes out: finite values, the eval perplexity under both of its names."""
    body = {name: value for name, value in point.items() if not _is_not_finite(value)}
    for name, other in (("perplexity", "eval_perplexity"), ("eval_perplexity", "perplexity")):
        if name in body:
            body.setdefault(other, body[name])
    return body


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
