"""Record of every request of the contract that arrives, in order."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend_bridge.dev_backend.database import utc_now
from backend_bridge.dev_backend.wire import REDACTED, ApiError, parse_json, redact

RECORDED_PATHS = "/api/training/"
_RECORDED_HEADERS = ("content-type", "idempotency-key", "user-agent")


_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    sequence        INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id          TEXT,                     -- of the path
    method          TEXT NOT NULL,
    path            TEXT NOT NULL,
    headers         TEXT NOT NULL,            -- JSON
    body            TEXT,                     -- JSON, secrets redacted; NULL if it was none
    body_bytes      INTEGER NOT NULL,
    status          INTEGER,                  -- NULL if no answer went out
    fault           TEXT,                     -- the misbehaviour that was asked for, if any
    received_at     TEXT NOT NULL,
    answered_at     TEXT
);
CREATE INDEX IF NOT EXISTS requests_of_job ON requests (job_id, sequence);
"""


class RequestLog:
    """A file with every request. Tokens are redacted before anything is written."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def arrived(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Note a request before anything else sees it; its sequence number."""
        told = (json.dumps(_headers(headers)), _body(body), len(body), utc_now())
        with self._lock:
            sequence = self._connection.execute(
                "INSERT INTO requests (job_id, method, path, headers, body, body_bytes,"
                " received_at) VALUES (?,?,?,?,?,?,?)",
                (_job_of(path), method, path, *told),
            ).lastrowid
        assert sequence is not None  # an INSERT always has one
        return sequence

    def answered(self, sequence: int, status: int | None, fault: str | None) -> None:
        """Note what the request was answered; None if no answer went out."""
        with self._lock:
            self._connection.execute(
                "UPDATE requests SET status = ?, fault = ?, answered_at = ? WHERE sequence = ?",
                (status, fault, utc_now(), sequence),
            )

    def read(self, job_id: str | None, after: int, limit: int) -> list[dict[str, Any]]:
        """Requests behind the sequence number ``after``, in the order of their arrival."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT * FROM requests WHERE sequence > ? AND (? IS NULL OR job_id = ?)"
                " ORDER BY sequence LIMIT ?",
                (after, job_id, job_id, limit),
            ).fetchall()
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
