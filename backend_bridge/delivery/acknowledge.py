"""Acknowledgement: what a backend's answer means for the message's lane, and dead letters.

Nothing here asks or writes: it changes the progress, which the sender stores.
"""

from __future__ import annotations

from enum import Enum, auto

from backend_bridge.delivery.backend_client import (
    AccessRefused,
    Answer,
    Delivered,
    Refused,
    RouteMissing,
    TooLarge,
    TryAgain,
)
from backend_bridge.delivery.log_bodies import halve
from backend_bridge.delivery.messages import (
    LANE_OF_KIND,
    ROUTE_OF_LANE,
    LogMessage,
    Message,
    StatusMessage,
)
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from trainyard.contract.statuses import TERMINAL
from trainyard.store.delivery_state import DeliveryProgress, Lane
from trainyard.store.event_log import Entry

HTTP_NOT_FOUND = 404


class After(Enum):
    """What became of a message."""

    DONE = auto()
    SET_ASIDE = auto()
    """The backend will never take it."""
    SMALLER = auto()
    """It was too large; its next try holds less."""
    LATER = auto()
    """Its lane waits."""


def acknowledge(
    progress: DeliveryProgress,
    entry: Entry,
    message: Message,
    answer: Answer,
    now_ms: int,
    policy: DeliveryPolicy,
) -> After:
    """Note in ``progress`` what ``answer`` to ``message``, a request for ``entry``, means."""
    name = LANE_OF_KIND[entry.kind]
    lane = progress.lane(name)
    match answer:
        case TooLarge() if isinstance(message, LogMessage) and halve(progress, message.lines):
            return After.SMALLER
        case Delivered():
            _delivered(progress, lane, entry, message)
            return After.DONE
        case Refused(reason) | TooLarge(reason):
            return _set_aside(progress, lane, entry, message, reason)
        case TryAgain(reason, retry_after_s):
            pause_s = _failed(lane, entry, policy, retry_after_s)
            lane.refusal = "missing" if lane.refusal == "missing" else ""
            asked_for_s = min(retry_after_s or 0.0, policy.retry_after_cap_s)
            for other in progress.lanes:  # a Retry-After is meant for all
                if asked_for_s:
                    other.due_ms = max(other.due_ms, now_ms + int(1000 * asked_for_s))
        case AccessRefused(reason, http_status):
            pause_s = _failed(lane, entry, policy)
            if lane.refusal in ("doubted", "missing") and http_status == HTTP_NOT_FOUND:
                pause_s, lane.refusal = policy.missing_route_s(), "missing"
                reason = f"the backend lacks {ROUTE_OF_LANE[name]} ({reason})"
            elif not progress.heard:
                pause_s = policy.unheard_s(lane.failures)
                if _is_refusal(entry) and lane.failures > len(policy.access_delays_s):
                    return _set_aside(progress, lane, entry, message, reason)
            lane.refusal = lane.refusal or "refused"
        case RouteMissing(route):
            _failed(lane, entry, policy)
            pause_s, lane.refusal = policy.missing_route_s(), "missing"
            reason = f"the backend lacks {route} (HTTP 405)"
    lane.due_ms = now_ms + int(1000 * pause_s)
    progress.last_error = reason
    return After.LATER


def _delivered(progress: DeliveryProgress, lane: Lane, entry: Entry, message: Message) -> None:
    lane.accepted()
    progress.heard = True
    for other in progress.lanes:
        if other.refusal == "refused":  # the job is known and the backend there: try it at once
            other.refusal, other.due_ms = "doubted", 0
    if not any(other.failing for other in progress.lanes):
        progress.last_error = ""
    if isinstance(message, StatusMessage) and message.status in TERMINAL:
        progress.ended_attempt = int(entry.fields["attempt"])
    _move_on(progress, entry, message)


def _set_aside(
    progress: DeliveryProgress, lane: Lane, entry: Entry, message: Message, reason: str
) -> After:
    lane.accepted()
    _move_on(progress, entry, message)
    progress.last_error = reason
    return After.SET_ASIDE


def _is_refusal(entry: Entry) -> bool:
    """A request that was refused: there is no job that could be parked, and go when it is old."""
    return entry.kind == "status" and entry.fields["attempt"] == "0"


def _move_on(progress: DeliveryProgress, entry: Entry, message: Message) -> None:
    if not isinstance(message, LogMessage):
        return
    if entry.again:
        progress.part = 0 if message.is_all else message.next_line
    else:
        progress.next_line, progress.gap = message.next_line, None


def _failed(
    lane: Lane, entry: Entry, policy: DeliveryPolicy, retry_after_s: float | None = None
) -> float:
    """Seconds until the lane is tried again."""
    lane.failures += 1
    lane.failing = entry.entry_id
    return policy.backoff_s(lane.failures, retry_after_s)
