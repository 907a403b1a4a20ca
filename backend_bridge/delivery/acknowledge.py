"""Acknowledgement: what a backend's answer means for the message's lane, and dead letters.

Nothing here asks or writes: it changes the progress, which the sender stores.
"""

from __future__ import annotations

from enum import Enum, auto

from backend_bridge.delivery import points
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
    MetricMessage,
    PointsMessage,
    StatusMessage,
)
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from trainyard.contract.backend_routes import WITHOUT
from trainyard.contract.statuses import TERMINAL
from trainyard.store.delivery_state import DeliveryProgress, Lane, Points
from trainyard.store.event_log import Entry


class After(Enum):
    """What became of a message."""

    DONE = auto()
    SET_ASIDE = auto()
    """The backend will never take it."""
    SKIPPED = auto()
    """The backend lacks its route, as it may."""
    ANOTHER = auto()
    """It was too large, or does not go together: its next try is another request."""
    LATER = auto()
    """Its lane waits."""


def acknowledge(  # noqa: PLR0911 (one each)
    progress: DeliveryProgress,
    entry: Entry,
    message: Message,
    answer: Answer,
    now_ms: int,
    policy: DeliveryPolicy,
) -> After:
    """Note in ``progress`` what ``answer`` to ``message``, a request for ``entry``, means."""
    lane, route = progress.lane(LANE_OF_KIND[entry.kind]), ROUTE_OF_LANE[LANE_OF_KIND[entry.kind]]
    if isinstance(message, PointsMessage) and _goes_another_way(progress, message, answer):
        return After.ANOTHER
    match answer:
        case TooLarge() if isinstance(message, LogMessage) and halve(
            progress, {"logs": message.lines}
        ):
            return After.ANOTHER
        case Delivered():
            _delivered(progress, lane, entry, message)
            return After.DONE
        case Refused(reason) | TooLarge(reason):
            return _set_aside(progress, lane, entry, message, reason)
        case AccessRefused(reason) if _is_unheard_refusal(progress, lane, entry, policy):
            return _set_aside(progress, lane, entry, message, reason)
        case AccessRefused() | RouteMissing() if route in WITHOUT and (
            lane.refusal == "doubted" or isinstance(answer, RouteMissing)
        ):
            lane.accepted()
            return After.SKIPPED
    lane.failures += 1
    lane.failing = entry.entry_id
    pause_s, progress.last_error = _pause(progress, lane, entry, answer, policy)
    lane.due_ms = now_ms + int(1000 * pause_s)
    if (least_s := _for_all_s(progress, lane, entry, answer, now_ms, policy)) > 0:
        for other in progress.lanes:
            other.due_ms = max(other.due_ms, now_ms + int(1000 * least_s))
    return After.LATER


def _pause(
    progress: DeliveryProgress,
    lane: Lane,
    entry: Entry,
    answer: TryAgain | AccessRefused | RouteMissing,
    policy: DeliveryPolicy,
) -> tuple[float, str]:
    """Seconds until the lane is tried again, and why; notes the kind of refusal."""
    route = ROUTE_OF_LANE[LANE_OF_KIND[entry.kind]]
    match answer:
        case TryAgain(reason, retry_after_s):
            lane.refusal = "missing" if lane.refusal == "missing" else ""
            return policy.backoff_s(lane.failures, retry_after_s), reason
        case RouteMissing(missing):
            lane.refusal = "missing"
            return policy.missing_route_s(), f"the backend lacks {missing} (HTTP 405)"
        case AccessRefused(reason, 404) if lane.refusal in ("doubted", "missing"):
            lane.refusal = "missing"
            return policy.missing_route_s(), f"the backend lacks {route} ({reason})"
        case AccessRefused(reason):
            lane.refusal = lane.refusal or "refused"
            unheard = not progress.heard
            pause_s = policy.unheard_s if unheard else policy.backoff_s
            return pause_s(lane.failures), reason


def _for_all_s(
    progress: DeliveryProgress,
    lane: Lane,
    entry: Entry,
    answer: Answer,
    now_ms: int,
    policy: DeliveryPolicy,
) -> float:
    """Seconds for which the other lanes wait too: a Retry-After is meant for all, and nothing of a
    job goes before its first status, unless that has waited for too long."""
    if not isinstance(answer, TryAgain):
        return 0.0
    asked_for_s = min(answer.retry_after_s or 0.0, policy.retry_after_cap_s)
    young = now_ms - entry.position[0] < 1000 * policy.patience_s
    first = lane is progress.status and not progress.heard and young
    return max(asked_for_s, (lane.due_ms - now_ms) / 1000 if first else 0.0)


def _goes_another_way(progress: DeliveryProgress, message: PointsMessage, answer: Answer) -> bool:
    """Whether the points are to be tried otherwise: fewer of them, or one by one."""
    lane = progress.metric
    match answer:
        case Delivered():
            return False
        case TryAgain(not_done=True) if message.is_sure and lane.failures + 1 >= points.TRIES:
            points.one_by_one(progress)
        case TryAgain(not_done=not_done):
            progress.points.unsure = not (message.is_sure and not_done)
            return False
        case TooLarge() if halve(progress, {"metrics": message.points}):
            progress.points = Points()
        case AccessRefused() if not message.is_sure and lane.refusal != "doubted":
            return False
        case AccessRefused() | RouteMissing():
            points.one_by_one(progress)
            progress.points.doubted = True
        case _:
            points.one_by_one(progress)
    return True


def lacks_points(progress: DeliveryProgress, message: Message, answer: Answer) -> bool:
    """Whether the route for many points is missing: they were not found there, and one of them was
    taken by itself right after."""
    doubted = progress.points.doubted
    if not doubted or not isinstance(message, MetricMessage):
        return False
    progress.points.doubted = False
    if not isinstance(answer, Delivered):  # everything is refused: no word about that route
        progress.points.single_to = "0-0"
    return isinstance(answer, Delivered)


def _delivered(progress: DeliveryProgress, lane: Lane, entry: Entry, message: Message) -> None:
    lane.accepted()
    progress.heard = True
    for other in (*progress.lanes, progress.row.lane):
        if other.refusal == "refused":  # the job is known and the backend there: try it at once
            other.refusal, other.due_ms = "doubted", 0
    if not any(other.failing for other in progress.lanes):
        progress.last_error = ""
    progress.row.wanted = progress.row.wanted or not isinstance(message, LogMessage)
    if isinstance(message, StatusMessage):
        progress.row.status = message.status
        if not progress.row.lane.failures:
            progress.row.lane.due_ms = 0
        if message.status in TERMINAL:
            progress.ended_attempt = int(entry.fields["attempt"])
    _move_on(progress, entry, message)


def _set_aside(
    progress: DeliveryProgress, lane: Lane, entry: Entry, message: Message, reason: str
) -> After:
    lane.accepted()
    _move_on(progress, entry, message)
    progress.last_error = reason
    return After.SET_ASIDE


def _is_unheard_refusal(
    progress: DeliveryProgress, lane: Lane, entry: Entry, policy: DeliveryPolicy
) -> bool:
    """A request that was refused, told long enough to a backend that does not know it: there is no
    job that could be parked, and go when it is old."""
    is_refusal = entry.kind == "status" and entry.fields["attempt"] == "0"
    return is_refusal and not progress.heard and lane.failures >= len(policy.access_delays_s)


def _move_on(progress: DeliveryProgress, entry: Entry, message: Message) -> None:
    if isinstance(message, PointsMessage):
        progress.metric.position, progress.points = message.to, Points()
        progress.metric.done += len(message.points) - 1  # and one for the entry
    if not isinstance(message, LogMessage):
        return
    if entry.again:
        progress.part = 0 if message.is_all else message.next_line
    else:
        progress.next_line, progress.gap = message.next_line, None
