"""What an entry of a job's event stream is on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from pydantic import BaseModel, SecretStr, TypeAdapter

from backend_bridge.delivery.backend_client import ROUTES, Answer, BackendClient
from trainyard.contract.events import EVENT_KINDS, Metric
from trainyard.contract.statuses import BackendStatus
from trainyard.store.event_log import Entry

REPORTED_KINDS = tuple(name for name, kind in EVENT_KINDS.items() if kind.reported)
"""Kinds of entries that the backend hears; the others are for readers of the stream."""

ROUTE_OF_KIND = {
    "status": ROUTES["status"],
    "metric": ROUTES["metrics"],
    "log": ROUTES["logs"],
}
"""Where each kind goes, as the contract names it."""


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

    @property
    def first_line(self) -> int:
        """Number of its first line."""
        return self.next_line - len(self.lines)


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
