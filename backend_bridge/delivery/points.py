"""Points: metric points that go out many at a time, to catch up after an outage.

What a request holds is stored before it is made, so that a retry, by whichever sender, has the same
points under the same key. If such a request may have arrived, its points go in no other. A point
that was tried by itself goes out by itself, and so does the first of a turn: a sender that died may
have tried it. The newest does too: a backend's row of the job follows single points.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from backend_bridge.delivery.messages import PointsMessage, key_of
from trainyard.contract.events import Metric
from trainyard.store.delivery_state import DeliveryProgress, Points
from trainyard.store.event_log import Entry, entry_position

POINTS_MIN = 10
"""Fewer that wait are no backlog."""
TRIES = 5
"""After so many in a row that failed, points go one by one: that route may work."""
_AROUND_BYTES = 200


def go_together(progress: DeliveryProgress, entry: Entry, *, first: bool) -> bool:
    """Whether ``entry`` may go out with those behind it, or has to, since it was tried so.

    ``first``: no metric was tried in this turn.
    """
    if entry.kind != "metric" or entry.again:
        return False
    if progress.points.to:
        return True
    tried_alone = first or progress.metric.failing == entry.entry_id
    return not tried_alone and entry.position > entry_position(progress.points.single_to)


def plan(progress: DeliveryProgress, page: Iterable[Entry]) -> str:
    """The last entry of those of ``page`` that go out together; "" if they go one by one."""
    chosen, size = list[Entry](), _AROUND_BYTES
    for entry in page:
        if entry.kind == "status":
            break
        if entry.kind != "metric" or not progress.metric.is_behind(entry.entry_id):
            continue
        try:
            size += len(json.dumps(_point(entry))) + len(", ")
        except (KeyError, ValidationError):
            break
        if size > progress.body_bytes:
            return _last(chosen)
        chosen.append(entry)
    return _last(chosen[:-1])


def points_message(job_id: str, entries: Sequence[Entry], *, is_sure: bool) -> PointsMessage:
    """The request that holds the metric points of ``entries``."""
    found = [entry for entry in entries if entry.kind == "metric"]
    key = f"{key_of(job_id, found[0])}-{found[-1].fields['sequence']}"
    points = [_point(entry) for entry in found]
    return PointsMessage(key, points, found[-1].entry_id, is_sure)


def one_by_one(progress: DeliveryProgress) -> None:
    """Let the points of the request that is under way go out singly."""
    progress.points = Points(single_to=progress.points.to or progress.points.single_to)


def _last(entries: Sequence[Entry]) -> str:
    return entries[-1].entry_id if len(entries) >= POINTS_MIN else ""


def _point(entry: Entry) -> dict[str, Any]:
    at = datetime.fromtimestamp(entry.position[0] / 1000, UTC)
    point = Metric.model_validate_json(entry.fields["data"]).to_backend()
    return {**point, "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
