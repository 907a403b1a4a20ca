"""Walk of a job's stream: which request is made next.

Statuses, metrics, log lines and predictions are lanes, each delivered in order. As a rule they go
out as they were written, the oldest first. A lane that the backend does not take waits until its
own due time, and the others go by; but a status waits for metrics and log lines that were written
before it, up to ``patience_s``. Statuses go first if what stands before them has waited for longer.
The job's row is told after each status, at once if it is the first or the last, and at most every
``row_s`` while metrics arrive.
"""

from __future__ import annotations

import time
from collections import deque

from backend_bridge.delivery.log_bodies import log_message
from backend_bridge.delivery.messages import (
    ENDPOINT_OF_LANE,
    LANE_OF_KIND,
    BackendMessage,
    prediction_message,
    row_message,
    status_message,
)
from backend_bridge.delivery.outbox import Hold
from backend_bridge.delivery.points import points_message
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.stream import Stream
from trainyard.contract.backend_routes import ROUTES, WITHOUT, Endpoint
from trainyard.contract.events import LaneName
from trainyard.store.delivery_state import LANES
from trainyard.store.event_log import Entry, entry_position


class Walk:
    """Walk of one turn, over the lanes that do not wait."""

    def __init__(self, hold: Hold, stream: Stream, policy: DeliveryPolicy) -> None:
        self._hold, self._stream, self._policy = hold, stream, policy
        self._progress = hold.progress
        self._open = {name for name in LANES if self._is_due(name)}
        """Lanes that do not wait."""
        self._seen = self._open_from()
        """The entry up to which nothing is left for the open lanes."""
        self._page: deque[Entry] = deque()
        """What comes next in the stream."""
        self._again = hold.again > 0
        self._read_to = "0-0" if self._again else self._seen
        self._is_left = self._is_first_metric = True
        """Whether the stream may hold more; whether no point was met in this turn."""

    def next(self) -> BackendMessage | None:
        """The request to be made now; None if none may be made any more in this turn."""
        self._open = {name for name in self._open if self._is_due(name)}
        if any(map(self._is_due, self.waiting)):  # its entries were gone by: a turn of its own
            return None
        if (row := self._row()) is not None:
            return row
        entry = self._next_entry()
        self._is_left = entry is not None
        return None if entry is None else self._message(entry)

    @property
    def waiting(self) -> list[LaneName]:
        """Lanes that wait for the backend."""
        return [name for name in LANES if name not in self._open]

    def rest(self) -> tuple[int | None, str]:
        """In how many ms the job is due again, None: nothing waits; and the entry up to which all
        was seen, "" if what lies beyond does not matter."""
        row, now_ms = self._progress.row, self._hold.now_ms
        due_in_ms = [self._progress.lane(name).due_ms - now_ms for name in self.waiting]
        if row.wanted:
            due_in_ms.append(row.lane.due_ms - now_ms)
        if self._open and self._is_left:
            due_in_ms.append(0)
        seen = "" if self._is_left or not self._open else self._seen
        return min(due_in_ms, default=None), seen

    def _is_due(self, name: LaneName) -> bool:
        return self._progress.lane(name).due_ms <= self._hold.now_ms

    def _lacks(self, endpoint: Endpoint) -> bool:
        """Whether the backend was seen to lack a route that it may lack, not long ago."""
        route = ROUTES[endpoint]
        seen_at = float(self._hold.missing.get(route) or 0)
        return route in WITHOUT and time.time() - seen_at < self._policy.optional_route_s

    # ------------------------------------------------------------ which entry

    def _next_entry(self) -> Entry | None:
        while self._open:
            while self._page:
                entry = self._page[0]
                if self._may_go(entry):
                    return self._status_before(entry) or entry
                self._pass(self._page.popleft())
            if not self._read_page():
                return None
        return None

    def _open_from(self) -> str:
        """The entry up to which every open lane has all; "" if none is open."""
        positions = (self._progress.lane(name).position for name in self._open)
        return min(positions, key=entry_position, default="")

    def _read_page(self) -> bool:
        if not self._again:  # what lies between a lane that waits now and the others is not read
            self._seen = max(self._seen, self._open_from(), key=entry_position)
            self._read_to = max(self._read_to, self._seen, key=entry_position)
        found = self._stream.read(self._hold.job_id, self._read_to, again=self._again)
        if not found and self._again:
            self._again, self._read_to = False, self._seen
            return self._read_page()
        self._page.extend(found)
        if found:
            self._read_to = found[-1].entry_id
        return bool(found)

    def _pass(self, entry: Entry) -> None:
        """Note that ``entry`` needs nothing more, as far as the open lanes go."""
        if not entry.again:
            self._seen = entry.entry_id
            for lane in map(self._progress.lane, self._open):
                lane.position = max(lane.position, entry.entry_id, key=entry_position)

    def _may_go(self, entry: Entry) -> bool:
        name = LANE_OF_KIND.get(entry.kind)
        if name not in self._open:
            return False
        if entry.again:
            return entry.entry_id != self._hold.sent_again
        if not self._progress.lane(name).is_behind(entry.entry_id) or self._lacks(
            ENDPOINT_OF_LANE[name]
        ):
            return False
        if name == "status" and (wait_ms := self._wait_before(entry)) > 0:
            self._open.discard("status")
            self._progress.status.due_ms = self._hold.now_ms + wait_ms
            return False
        return True

    def _wait_before(self, status: Entry) -> int:
        """Milliseconds for which a status waits for older messages that were not taken."""
        patience_ms = int(1000 * self._policy.patience_s)
        waits = [0]
        required: tuple[LaneName, ...] = ("metric", "log")
        for lane in (self._progress.lane(name) for name in required if name not in self._open):
            position = entry_position(lane.failing or "0-0")
            if lane.failing and lane.refusal != "missing" and position < status.position:
                patience_left_ms = position[0] + patience_ms - self._hold.now_ms
                waits.append(min(patience_left_ms, lane.due_ms - self._hold.now_ms))
        return max(waits)

    def _status_before(self, entry: Entry) -> Entry | None:
        """A status that goes before ``entry``, which has waited for too long to keep it waiting."""
        if entry.again or entry.kind == "status" or "status" not in self._open:
            return None
        if self._hold.now_ms - entry.position[0] <= 1000 * self._policy.patience_s:
            return None
        known = max(entry.entry_id, self._progress.status.position, key=entry_position)
        if entry_position(self._hold.last_status) <= entry_position(known):
            return None
        status = self._stream.status_beyond(self._hold.job_id, known)
        return status if self._may_go(status) else None

    # ------------------------------------------------------------ its request

    def _message(self, entry: Entry) -> BackendMessage:
        job_id, progress, name = self._hold.job_id, self._progress, LANE_OF_KIND[entry.kind]
        try:
            match name:
                case "status":
                    return status_message(job_id, entry, progress.ended_attempt)
                case "metric":
                    return self._points(entry)
                case "prediction":
                    return prediction_message(job_id, self._hold.user_id, entry)
                case "log":
                    return log_message(job_id, entry, progress, self._noted(entry))
        except (KeyError, ValueError) as error:
            problem, endpoint = f"the entry cannot be read: {error}", ENDPOINT_OF_LANE[name]
            return BackendMessage(endpoint, "", {}, entry, entry.entry_id, problem=problem)

    def _points(self, entry: Entry) -> BackendMessage:
        points, page = self._progress.points, self._page
        is_first, self._is_first_metric = self._is_first_metric, False
        if points.to and not entry.again:
            end = entry_position(points.to)
            while page[-1].position < end and self._read_page():
                pass  # all that a request under way holds
        may_plan = not is_first and not self._lacks("points")
        return points_message(self._hold.job_id, page, self._progress, may_plan=may_plan)

    def _noted(self, entry: Entry) -> int:
        """How many more lines were cut before ``entry`` than its numbers say."""
        begin, end = self._progress.next_line, int(entry.fields.get("first_line", 0))
        if entry.again or self._progress.gap or end <= begin:
            return 0
        return self._stream.lines_noted(self._hold.job_id, begin, end)

    def _row(self) -> BackendMessage | None:
        """What is known of the job, if it is time to tell it, and the backend takes that."""
        row, hold = self._progress.row, self._hold
        if not row.wanted or row.lane.due_ms > hold.now_ms:
            return None
        known = hold.user_id and row.status and not self._lacks("row")
        job = self._stream.job(hold.job_id) if known else None
        if job is None:
            row.wanted = False
            return None
        return row_message(job, row.status, hold.now_ms)
