"""Points: metric points, one by one, or many at a time to catch up after an outage.

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

from backend_bridge.delivery.messages import BackendMessage, key_of
from trainyard.contract.events import Metric
from trainyard.store.delivery_state import DeliveryProgress
from trainyard.store.event_log import Entry, entry_position

POINTS_MIN = 10
"""Fewer that wait are no backlog."""
_AROUND_BYTES = 200


def points_message(
    job_id: str, page: Sequence[Entry], progress: DeliveryProgress, *, may_plan: bool
) -> BackendMessage:
    """The next request for metric points, of which ``page`` begins with the first.

    ``may_plan``: a request for many may be begun; the page holds all of one that is under way.
    Raises ValueError or KeyError if the first is none.
    """
    first, points = page[0], progress.points
    if may_plan and not first.again and not points.to and _is_untried(first, progress):
        points.to = _plan(page, progress.body_bytes)
    key = key_of(job_id, first)
    if first.again or not points.to:
        return BackendMessage("metrics", key, _point(first), first, first.entry_id)
    end = entry_position(points.to)
    found = [entry for entry in page if entry.kind == "metric" and entry.position <= end]
    key = f"{key}-{found[-1].fields['sequence']}"
    body = {"job_id": job_id, "metrics": [_stamped(entry) for entry in found]}
    return BackendMessage(
        "points", key, body, first, points.to, entries=len(found), is_new=not points.unsure
    )


def _is_untried(entry: Entry, progress: DeliveryProgress) -> bool:
    """Whether a point was not tried by itself."""
    by_itself = entry_position(progress.points.single_to)
    return entry.position > by_itself and progress.metric.failing != entry.entry_id


def _plan(page: Iterable[Entry], body_bytes: int) -> str:
    """The last entry of those of ``page`` that go out together; "" if they go one by one."""
    chosen, size = list[Entry](), _AROUND_BYTES
    for entry in page:
        if entry.kind == "status":
            break
        if entry.kind != "metric":
            continue
        try:
            size += len(json.dumps(_stamped(entry))) + len(", ")
        except (KeyError, ValidationError):
            break
        if size > body_bytes:
            return _last(chosen)
        chosen.append(entry)
    return _last(chosen[:-1])


def _last(entries: Sequence[Entry]) -> str:
    return entries[-1].entry_id if len(entries) >= POINTS_MIN else ""


def _stamped(entry: Entry) -> dict[str, Any]:
    at = datetime.fromtimestamp(entry.position[0] / 1000, UTC).isoformat(timespec="milliseconds")
    return {**_point(entry), "timestamp": at.replace("+00:00", "Z")}


def _point(entry: Entry) -> dict[str, Any]:
    """A point, its eval perplexity under both names: the backend reads it from ``perplexity``."""
    point = Metric.model_validate_json(entry.fields["data"]).to_backend()
    for name, other in (("perplexity", "eval_perplexity"), ("eval_perplexity", "perplexity")):
        if name in point:
            point.setdefault(other, point[name])
    return point
