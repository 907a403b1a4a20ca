"""Messages: entries of a job's event stream as requests to the backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from pydantic import BaseModel, SecretStr, TypeAdapter

from backend_bridge.delivery.backend_client import Answer, BackendClient
from backend_bridge.delivery.log_bodies import fitting
from trainyard.contract.backend_routes import ROUTES
from trainyard.contract.events import EVENT_KINDS, LaneName, Metric, Prediction
from trainyard.contract.statuses import BackendStatus
from trainyard.store.delivery_state import DeliveryProgress
from trainyard.store.event_log import Entry

LANE_OF_KIND = {name: kind.lane for name, kind in EVENT_KINDS.items() if kind.lane}
"""Lanes of the kinds that the backend hears; others are for readers of the stream."""

ROUTE_OF_LANE: dict[LaneName, str] = {
    "status": ROUTES["status"],
    "metric": ROUTES["metrics"],
    "log": ROUTES["logs"],
    "prediction": ROUTES["predictions"],
}
"""Where each lane goes, as the contract names it."""


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
    is_all = True


@dataclass(frozen=True)
class MetricMessage:
    """``PUT .../metrics``."""

    key: str
    point: Mapping[str, Any]
    is_all = True


@dataclass(frozen=True)
class PointsMessage:
    """``POST /metrics``: the points of several entries, of which ``to`` is the last.

    ``is_sure``: no try before it can have arrived.
    """

    key: str
    points: Sequence[Mapping[str, Any]]
    to: str
    is_sure: bool
    is_all = True


@dataclass(frozen=True)
class PredictionMessage:
    """``POST /predictions``."""

    key: str
    prediction: Mapping[str, Any]
    is_all = True


@dataclass(frozen=True)
class LogMessage:
    """``POST .../logs``. ``next_line``: number of the line after the last one, within its entry if
    that is sent again; ``is_all``: the entry needs no other."""

    key: str
    lines: Sequence[str]
    next_line: int
    is_all: bool = True


Message = StatusMessage | MetricMessage | PointsMessage | PredictionMessage | LogMessage


def send(client: BackendClient, job_id: str, token: SecretStr, message: Message) -> Answer:
    """Make the one request that ``message`` is."""
    match message:
        case StatusMessage(key, status, error):
            return client.patch_status(job_id, token, key, status, error)
        case MetricMessage(key, point):
            return client.put_metric(job_id, token, key, point)
        case PointsMessage(key, points):
            return client.post_points(job_id, token, key, points)
        case PredictionMessage(key, prediction):
            return client.post_prediction(job_id, token, key, prediction)
        case LogMessage(key, lines):
            return client.post_logs(job_id, token, key, lines)
        case _:
            assert_never(message)


def key_of(job_id: str, entry: Entry) -> str:
    """The Idempotency-Key of an entry's request."""
    return f"{job_id}:{entry.fields['attempt']}:{entry.fields['sequence']}"


def read_entry(job_id: str, user_id: str, entry: Entry, progress: DeliveryProgress) -> Message:
    """The next request for an entry. Raises ValueError or KeyError if it is none.

    The key is ``{job}:{attempt}:{sequence}``, the same with the same body at every try; that of a
    later part of a log entry says how many of its lines came before. A line about cut lines that is
    under way goes before the entry.
    """
    key, data = key_of(job_id, entry), entry.fields["data"]
    if entry.kind == "status":
        status = _StatusData.model_validate_json(data)
        return StatusMessage(key, status.status, status.error)
    if entry.kind == "metric":
        return MetricMessage(key, Metric.model_validate_json(data).to_backend())
    if entry.kind == "prediction":
        whose = {"job_id": job_id} | ({"user_id": user_id} if user_id else {})
        told = Prediction.model_validate_json(data).to_backend()
        return PredictionMessage(key, whose | told)
    return _read_lines(key, _LINES.validate_json(data), entry, progress)


def _read_lines(key: str, lines: list[str], entry: Entry, progress: DeliveryProgress) -> LogMessage:
    if progress.gap and not entry.again:
        return LogMessage(progress.gap.key, [progress.gap.line], progress.gap.to, is_all=False)
    first_line = 0 if entry.again else int(entry.fields["first_line"])
    before = progress.part if entry.again else max(0, progress.next_line - first_line)
    if not lines[before:]:
        raise ValueError("it holds no line that is to be sent")
    part = fitting(lines[before:], progress.body_bytes)
    until = before + len(part)
    key = f"{key}+{before}" if before else key
    return LogMessage(key, part, first_line + until, is_all=until >= len(lines))
