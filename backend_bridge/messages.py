"""What an entry of a job's event stream is on the wire: one request, two where lines were cut."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, assert_never

from pydantic import BaseModel, SecretStr, TypeAdapter

from backend_bridge.client import ROUTES, Answer, BackendClient
from backend_bridge.contract import BackendStatus, Metric
from backend_bridge.outbox import Claim, Entry

REPORTED_KINDS = ("status", "metric", "log")
"""Kinds of entries that the backend hears; the others are for readers of the stream."""

ROUTE_OF_KIND = {
    "status": ROUTES["status"],
    "metric": ROUTES["metrics"],
    "log": ROUTES["logs"],
}
"""Where each kind goes, as the contract names it."""

_STAMP_LENGTH = len("[2026-01-01 00:00:00]")


class _StatusData(BaseModel):
    status: BackendStatus
    error: str | None = None


_LINES = TypeAdapter(list[str])


@dataclass(frozen=True)
class StatusMessage:
    """``PATCH .../status``."""

    key: str
    status: str
    error: str | None


@dataclass(frozen=True)
class MetricMessage:
    """``PUT .../metrics``."""

    key: str
    point: Mapping[str, Any]


@dataclass(frozen=True)
class LogMessage:
    """``POST .../logs``; ``next_line`` is the number of the line after the last one."""

    key: str
    lines: Sequence[str]
    next_line: int


Message = StatusMessage | MetricMessage | LogMessage


def send(client: BackendClient, job_id: str, token: SecretStr, message: Message) -> Answer:
    """Make the one request that ``message`` is."""
    match message:
        case StatusMessage(key, status, error):
            return client.patch_status(job_id, token, key, status, error)
        case MetricMessage(key, point):
            return client.put_metric(job_id, token, key, point)
        case LogMessage(key, lines):
            return client.post_logs(job_id, token, key, lines)
        case _:
            assert_never(message)


def read_entry(job_id: str, entry: Entry) -> Message:
    """The request for an entry of a reported kind. Raises ValueError or KeyError where it is none.

    The key is ``{job}:{attempt}:{sequence}``, the same at every try.
    """
    fields = entry.fields
    key = f"{job_id}:{fields['attempt']}:{fields['sequence']}"
    if entry.kind == "status":
        status = _StatusData.model_validate_json(fields["data"])
        return StatusMessage(key, status.status, status.error)
    if entry.kind == "metric":
        return MetricMessage(key, Metric.model_validate_json(fields["data"]).to_backend())
    lines = _LINES.validate_json(fields["data"])
    return LogMessage(key, lines, int(fields["first_line"]) + len(lines))


def gap_before(claim: Claim, message: LogMessage) -> LogMessage | None:
    """The line that says how many log lines were cut before ``message``, where some were.

    It is written into the claim before it is sent: where more is cut before the next try, that
    try repeats this line with this key, and another line follows for the rest. So every line is
    either delivered or counted once.
    """
    if not claim.state.get("gap"):
        first_line = message.next_line - len(message.lines)
        cut = first_line - claim.number("next_line")
        if cut <= 0:
            return None
        gap = {"key": f"{message.key}-gap", "line": _gap_line(message, cut), "to": first_line}
        claim.put("gap", json.dumps(gap))
    stored = json.loads(claim.state["gap"])
    return LogMessage(stored["key"], [stored["line"]], stored["to"])


def _gap_line(message: LogMessage, cut: int) -> str:
    stamp = message.lines[0][:_STAMP_LENGTH] if message.lines else ""
    if not (len(stamp) == _STAMP_LENGTH and stamp[0] == "[" and stamp[-1] == "]"):
        stamp = f"[{datetime.now(UTC):%Y-%m-%d %H:%M:%S}]"
    lines = "1 log line was" if cut == 1 else f"{cut} log lines were"
    return f"{stamp} … {lines} cut here (the complete log lies in the job's folder)"
