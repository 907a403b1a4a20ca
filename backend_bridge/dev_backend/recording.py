"""Every request of the contract that arrives, in order, for whoever wants to look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .database import Database, utc_now
from .wire import REDACTED, ApiError, parse_json, redact

RECORDED_PATHS = "/api/training/"
REQUESTS_KEPT = 100_000
_RECORDED_HEADERS = ("content-type", "idempotency-key", "user-agent")


class RequestLog:
    """The table ``requests``. Tokens are redacted before anything is written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def arrived(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Note a request before anything else sees it; its sequence number."""
        with self._database.transaction() as connection:
            sequence = connection.execute(
                "INSERT INTO requests (job_id, method, path, headers, body, body_bytes,"
                " received_at) VALUES (?,?,?,?,?,?,?)",
                (
                    _job_of(path),
                    method,
                    path,
                    json.dumps(_headers(headers)),
                    _body(body),
                    len(body),
                    utc_now(),
                ),
            ).lastrowid
            assert sequence is not None  # an INSERT always has one
            connection.execute(
                "DELETE FROM requests WHERE sequence <= ?", (sequence - REQUESTS_KEPT,)
            )
        return sequence

    def answered(self, sequence: int, status: int | None, fault: str | None) -> None:
        """Note what the request was answered; None where no answer went out."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE requests SET status = ?, fault = ?, answered_at = ? WHERE sequence = ?",
                (status, fault, utc_now(), sequence),
            )

    def read(self, job_id: str | None, after: int, limit: int) -> list[dict[str, Any]]:
        """Requests behind the sequence number ``after``, in the order of their arrival."""
        rows = self._database.read(
            "SELECT * FROM requests WHERE sequence > ? AND (? IS NULL OR job_id = ?)"
            " ORDER BY sequence LIMIT ?",
            after,
            job_id,
            job_id,
            limit,
        )
        return [
            {
                **dict(row),
                "headers": json.loads(row["headers"]),
                "body": None if row["body"] is None else json.loads(row["body"]),
            }
            for row in rows
        ]


def _job_of(path: str) -> str | None:
    parts = path.split("/")  # "", api, training, local, {jobId}, status
    return parts[4] if len(parts) == 6 else None


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name: headers[name] for name in _RECORDED_HEADERS if name in headers}
    if "authorization" in headers:
        kept["authorization"] = REDACTED
    return kept


def _body(body: bytes) -> str | None:
    try:
        return json.dumps(redact(parse_json(body)))
    except ApiError:
        return None  # not JSON: its secrets cannot be told from the rest


class Recorder:
    """ASGI middleware: reads the whole body, notes it, then lets the request through."""

    def __init__(self, app: ASGIApp, log: RequestLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(RECORDED_PATHS):
            await self._app(scope, receive, send)
            return
        body = await _whole_body(receive)
        if body is None:
            return  # the client left before it had said what it wanted
        sequence = await run_in_threadpool(
            self._log.arrived, scope["method"], scope["path"], Headers(scope=scope), body
        )
        status: int | None = None
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            if status is not None and not message.get("more_body", False) and "body" in message:
                await run_in_threadpool(self._log.answered, sequence, status, scope.get("fault"))
            await send(message)

        await self._app(scope, replay, note_status)
        if status is None or scope.get("fault") == "half_body":
            await run_in_threadpool(self._log.answered, sequence, status, scope.get("fault"))


async def _whole_body(receive: Receive) -> bytes | None:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
