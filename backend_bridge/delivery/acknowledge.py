"""Acknowledgement: what a backend's answer means for the message's lane, and dead letters.

Nothing here asks or writes: it changes what the sender holds, which the sender stores, and says in
the log what a person should know.
"""

from __future__ import annotations

import json
import logging
import time

from backend_bridge.delivery.backend_client import (
    AccessRefused,
    Answer,
    Delivered,
    Refused,
    RouteMissing,
    TryAgain,
)
from backend_bridge.delivery.messages import LANE_OF_KIND, BackendMessage
from backend_bridge.delivery.outbox import Hold
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from trainyard.contract.backend_routes import ROUTES, WITHOUT
from trainyard.contract.statuses import TERMINAL
from trainyard.store.delivery_state import DeliveryProgress, Lane, Points
from trainyard.store.event_log import Entry

logger = logging.getLogger(__name__)

BODY_BYTES_MIN = 1024
"""A backend that refuses even this as too large will never take the line."""
POINTS_TRIES = 5
"""After so many in a row that failed, points go one by one: that route may work."""
UNSURE_POINTS_TRIES = 10
"""After so many, the last a 401 or 404, even those that may have arrived do: or never would."""
ROW_TRIES = 20
"""So often in a row 401 or 404 mean that the row's route is missing, whatever else is accepted."""
ROW_TRIES_IN_AN_OUTAGE = 500
"""Some two hours; then it is not told any more."""
_WARN_EVERY = 10
_LONG_S = 30.0
_DATA_LIMIT = 2000


def acknowledge(
    hold: Hold, message: BackendMessage, answer: Answer, policy: DeliveryPolicy
) -> bool:
    """Note in ``hold`` what ``answer`` to ``message`` means; True if its lane has to wait."""
    if message.endpoint == "row":
        _acknowledge_row(hold, answer, policy)
        return False
    if message.problem:
        _set_aside(hold, message, message.problem, None)
        return False
    progress, route = hold.progress, ROUTES[message.endpoint]
    lane = progress.lane(LANE_OF_KIND[message.entry.kind])
    was_missing, lacked, waits = lane.refusal == "missing", False, False
    match answer:
        case Refused(_, 413) if _halves(progress, message):
            pass
        case _ if message.endpoint == "points" and _goes_another_way(progress, message, answer):
            pass
        case Delivered():
            _delivered(hold, lane, message, policy)
        case Refused(reason, http_status):
            lane.accepted()
            _set_aside(hold, message, reason, http_status)
        case AccessRefused(reason, http_status) if _is_unheard_refusal(hold, message, policy):
            lane.accepted()
            _set_aside(hold, message, reason, http_status)
        case AccessRefused() | RouteMissing() if (
            route in WITHOUT
            and message.endpoint != "points"
            and (lane.refusal == "doubted" or isinstance(answer, RouteMissing))
        ):
            lane.accepted()
            _move_on(hold, message)
            lacked = True
        case _:
            _wait(hold, lane, message, answer, policy)
            waits = True
    hold.accepted = isinstance(answer, Delivered)
    if _lacks_points(progress, message, answer):
        _note_route(hold, ROUTES["points"], missing=True)
    missing = lacked or lane.refusal == "missing"
    if missing or was_missing or (hold.accepted and hold.missing.get(route)):
        _note_route(hold, route, missing=missing)
    return waits


# ---------------------------------------------------------------- it was taken, or never will be


def _delivered(hold: Hold, lane: Lane, message: BackendMessage, policy: DeliveryPolicy) -> None:
    progress = hold.progress
    lane.accepted()
    progress.heard = True
    for other in (*progress.lanes, progress.row.lane):
        if other.refusal == "refused":  # the job is known and the backend there: try it at once
            other.refusal, other.due_ms = "doubted", 0
    if not any(other.failing for other in progress.lanes):
        progress.last_error = ""
    progress.row.wanted = progress.row.wanted or message.endpoint != "logs"
    if message.endpoint == "status":
        is_first, ends = not progress.row.status, message.body["status"] in TERMINAL
        progress.row.status = message.body["status"]
        if not progress.row.lane.failures:  # a resume is not to share its processors with it
            wait_s = 0.0 if is_first or ends else policy.row_after_s
            progress.row.lane.due_ms = hold.now_ms + int(1000 * wait_s)
        if ends:
            progress.ended_attempt = int(message.entry.fields["attempt"])
    _move_on(hold, message)


def _set_aside(hold: Hold, message: BackendMessage, reason: str, http_status: int | None) -> None:
    """Put an entry where a person can see it and its reason, and go on with the next."""
    entry, job_id = message.entry, hold.job_id
    logger.warning(
        "job %s: %s %s set aside: %s",
        *(job_id, entry.kind, entry.fields.get("sequence", entry.entry_id), reason),
        extra={"action": "set_aside", "job_id": job_id},
    )
    hold.progress.last_error = reason
    hold.set_aside = (set_aside_record(job_id, entry, reason, http_status), entry.kind)
    _move_on(hold, message)


def set_aside_record(job_id: str, entry: Entry, reason: str, http_status: int | None) -> str:
    """What people read of an entry that the backend will never take (``delivery_report``).

    It holds up to 2,000 characters of the entry's data, and its stream id.
    """
    record = {
        "job_id": job_id,
        "entry_id": entry.entry_id,
        "kind": entry.kind,
        "attempt": entry.fields.get("attempt"),
        "sequence": entry.fields.get("sequence"),
        "data": entry.fields.get("data", "")[:_DATA_LIMIT],
        "reason": reason,
        "http_status": http_status,
        "at": int(time.time()),
    }
    return json.dumps(record)


def _move_on(hold: Hold, message: BackendMessage) -> None:
    progress, entry = hold.progress, message.entry
    if message.endpoint == "points":
        progress.points = Points()
    if message.endpoint == "logs" and entry.again:
        progress.part = 0 if message.to else message.next_line
    elif message.endpoint == "logs" and not message.problem:
        progress.next_line, progress.gap = message.next_line, None
    if message.to and entry.again:
        hold.sent_again = entry.entry_id
    elif message.to:
        lane = progress.lane(LANE_OF_KIND[entry.kind])
        lane.position, lane.done = message.to, lane.done + message.entries


def _is_unheard_refusal(hold: Hold, message: BackendMessage, policy: DeliveryPolicy) -> bool:
    """A request that was refused, told long enough to a backend that does not know it: there is no
    job that could be parked, and go when it is old."""
    is_refusal = message.endpoint == "status" and message.entry.fields["attempt"] == "0"
    tries = hold.progress.status.failures
    return is_refusal and not hold.progress.heard and tries >= len(policy.access_delays_s)


# ---------------------------------------------------------------- its next try is another request


def _halves(progress: DeliveryProgress, message: BackendMessage) -> bool:
    """Note that lines or points were too large; False if it cannot be smaller."""
    if message.endpoint not in ("logs", "points"):
        return False
    size = len(json.dumps(message.body))
    progress.body_bytes = max(BODY_BYTES_MIN, size // 2)
    if size > BODY_BYTES_MIN and message.endpoint == "points":
        progress.points = Points()
    return size > BODY_BYTES_MIN


def _goes_another_way(progress: DeliveryProgress, message: BackendMessage, answer: Answer) -> bool:
    """Whether the points of a request for many are to be tried one by one."""
    lane, points = progress.metric, progress.points
    match answer:
        case Delivered():
            return False
        case TryAgain(not_done=not_done):
            points.unsure = not (message.is_new and not_done)
            if points.unsure or lane.failures + 1 < POINTS_TRIES:
                return False
        case AccessRefused() if not message.is_new:
            if lane.refusal in ("", "refused") or lane.failures + 1 < UNSURE_POINTS_TRIES:
                return False
    doubted = isinstance(answer, AccessRefused | RouteMissing)
    progress.points = Points(single_to=points.to or points.single_to, doubted=doubted)
    return True


def _lacks_points(progress: DeliveryProgress, message: BackendMessage, answer: Answer) -> bool:
    """Whether the route for many points is missing: they were not found there, and one of them was
    taken by itself right after."""
    doubted = progress.points.doubted
    if not doubted or message.endpoint != "metrics":
        return False
    progress.points.doubted = False
    if not isinstance(answer, Delivered):  # everything is refused: no word about that route
        progress.points.single_to = "0-0"
    return isinstance(answer, Delivered)


# ---------------------------------------------------------------- its lane waits


def _wait(
    hold: Hold, lane: Lane, message: BackendMessage, answer: Answer, policy: DeliveryPolicy
) -> None:
    progress, entry = hold.progress, message.entry
    lane.failures, lane.failing = lane.failures + 1, entry.entry_id
    pause_s, progress.last_error = _pause(lane, message, answer, policy, heard=progress.heard)
    lane.due_ms = hold.now_ms + max(1, int(1000 * pause_s))  # not in this turn, by this sender
    if isinstance(answer, TryAgain):
        # A Retry-After is meant for all lanes, and nothing of a job goes before its first status,
        # unless that has waited for too long.
        asked_for_s = min(answer.retry_after_s or 0.0, policy.retry_after_cap_s)
        least_ms = hold.now_ms + int(1000 * asked_for_s)
        young = hold.now_ms - entry.position[0] < 1000 * policy.patience_s
        if lane is progress.status and not progress.heard and young:
            least_ms = max(least_ms, lane.due_ms)
        for other in progress.lanes if least_ms > hold.now_ms else ():
            other.due_ms = max(other.due_ms, least_ms)
    pause_s = (lane.due_ms - hold.now_ms) / 1000
    news = lane.failures % _WARN_EVERY == 1 or pause_s >= _LONG_S
    logger.log(
        logging.WARNING if news else logging.DEBUG,
        "job %s: %s not delivered (%s), try %d; again in %.1f s",
        *(hold.job_id, entry.kind, progress.last_error, lane.failures, pause_s),
        extra={"action": "try_again", "job_id": hold.job_id},
    )


def _pause(
    lane: Lane, message: BackendMessage, answer: Answer, policy: DeliveryPolicy, *, heard: bool
) -> tuple[float, str]:
    """Seconds until the lane is tried again, and why; notes the kind of refusal."""
    match answer:
        case TryAgain(reason, retry_after_s):
            lane.refusal = "missing" if lane.refusal == "missing" else ""
            return policy.backoff_s(lane.failures, retry_after_s), reason
        case RouteMissing(missing):
            lane.refusal = "missing"
            return policy.missing_route_s(), f"the backend lacks {missing} (HTTP 405)"
        case AccessRefused(reason, 404) if lane.refusal in ("doubted", "missing"):
            lane.refusal = "missing"
            route = ROUTES[message.endpoint]
            return policy.missing_route_s(), f"the backend lacks {route} ({reason})"
        case AccessRefused(reason):
            lane.refusal = lane.refusal or "refused"
            pause_s = policy.backoff_s if heard else policy.unheard_s
            return pause_s(lane.failures), reason
    raise AssertionError(f"{answer} makes no lane wait")


def _note_route(hold: Hold, route: str, *, missing: bool) -> None:
    if missing and route in WITHOUT:
        logger.info(
            "the backend lacks %s: %s", route, WITHOUT[route], extra={"action": "skip_route"}
        )
    hold.missing[route] = str(int(time.time())) if missing else ""


# ---------------------------------------------------------------- the job's row


def _acknowledge_row(hold: Hold, answer: Answer, policy: DeliveryPolicy) -> None:
    row, lane = hold.progress.row, hold.progress.row.lane
    match answer:
        case Delivered():
            lane.accepted()
            lane.due_ms = hold.now_ms + int(1000 * policy.row_s)
        case TryAgain(_, retry_after_s) if lane.failures < ROW_TRIES_IN_AN_OUTAGE:
            lane.failures += 1
            lane.due_ms = hold.now_ms + int(1000 * policy.backoff_s(lane.failures, retry_after_s))
            return
        case AccessRefused() if lane.refusal != "doubted" and lane.failures < ROW_TRIES:
            lane.failures, lane.refusal = lane.failures + 1, "refused"
            lane.due_ms = hold.now_ms + int(1000 * policy.backoff_s(lane.failures))
            return
        case _:
            lane.accepted()
    row.wanted = False
    missing = not isinstance(answer, Delivered | TryAgain)
    if missing or hold.missing.get(ROUTES["row"]):
        _note_route(hold, ROUTES["row"], missing=missing)
