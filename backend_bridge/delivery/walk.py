"""Walk of a job's stream: which of its entries is sent next.

Statuses, metrics, log lines and predictions are lanes, each delivered in order. As a rule they go
out as they were written, the oldest first. A lane that the backend does not take waits until its
own due time, and the others go by; but a status waits for metrics and log lines that were written
before it, up to ``patience_s``. Statuses go first if what stands before them has waited for longer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from backend_bridge.delivery.messages import LANE_OF_KIND, ROUTE_OF_LANE
from backend_bridge.delivery.outbox import Hold, Outbox
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from trainyard.contract.events import LaneName
from trainyard.store.delivery_state import LANES, Lane
from trainyard.store.event_log import Entry, entry_position


@dataclass
class Walk:
    """Walk of one turn, over the lanes that do not wait."""

    hold: Hold
    outbox: Outbox
    policy: DeliveryPolicy

    def __post_init__(self) -> None:
        self.open = {name for name in LANES if self.is_due(name)}
        """Lanes that do not wait."""
        positions = [self._lane(name).position for name in self.open]
        self.seen = min(positions, key=entry_position, default="")
        """The entry up to which nothing is left for the open lanes."""
        self.page: deque[Entry] = deque()
        """What comes next in the stream."""
        self._again = self.hold.again > 0
        self._read_to = "0-0" if self._again else self.seen

    def _lane(self, name: LaneName) -> Lane:
        return self.hold.progress.lane(name)

    def is_due(self, name: LaneName) -> bool:
        return self._lane(name).due_ms <= self.hold.now_ms

    def waiting(self) -> list[LaneName]:
        return [name for name in LANES if name not in self.open]

    def keep_due(self) -> None:
        """A lane was refused: it waits."""
        self.open = {name for name in self.open if self.is_due(name)}

    def next(self) -> Entry | None:
        """The entry to be sent now; None if nothing is left that may be."""
        while self.open:
            while self.page:
                entry = self.page[0]
                if self._may_go(entry):
                    return self._status_before(entry) or entry
                self.pass_(entry)
            self.page.extend(self.outbox.read(self.hold.job_id, self._read_to, again=self._again))
            if self.page:
                self._read_to = self.page[-1].entry_id
            elif self._again:
                self._again, self._read_to = False, self.seen
            else:
                return None
        return None

    def pass_(self, entry: Entry) -> None:
        """Note that ``entry`` needs nothing more, as far as the open lanes go."""
        if self.page and entry is self.page[0]:
            self.page.popleft()
            if not entry.again:
                self.seen = entry.entry_id
                for lane in map(self._lane, self.open):
                    lane.position = max(lane.position, entry.entry_id, key=entry_position)
        else:  # a status that went before others
            self.hold.progress.status.position = entry.entry_id

    def _may_go(self, entry: Entry) -> bool:
        name = LANE_OF_KIND.get(entry.kind)
        if name not in self.open:
            return False
        if entry.again:
            return True
        if not self._lane(name).is_behind(entry.entry_id):
            return False
        if self.hold.lacks(ROUTE_OF_LANE[name], self.policy.optional_route_s):
            return False
        if name == "status" and (wait_ms := self._wait_before(entry)) > 0:
            self.open.discard("status")
            self.hold.progress.status.due_ms = self.hold.now_ms + wait_ms
            return False
        return True

    def _wait_before(self, status: Entry) -> int:
        """Milliseconds for which a status waits for older messages that were not taken."""
        patience_ms = int(1000 * self.policy.patience_s)
        waits = [0]
        required: tuple[LaneName, ...] = ("metric", "log")
        for lane in (self._lane(name) for name in required if name not in self.open):
            position = entry_position(lane.failing or "0-0")
            if lane.failing and lane.refusal != "missing" and position < status.position:
                lost_in_ms = position[0] + patience_ms - self.hold.now_ms
                waits.append(min(lost_in_ms, lane.due_ms - self.hold.now_ms))
        return max(waits)

    def _status_before(self, entry: Entry) -> Entry | None:
        """A status that goes before ``entry``, which has waited for too long to keep it waiting."""
        if entry.again or entry.kind == "status" or "status" not in self.open:
            return None
        if self.hold.now_ms - entry.position[0] <= 1000 * self.policy.patience_s:
            return None
        known = max(entry.entry_id, self.hold.progress.status.position, key=entry_position)
        if entry_position(self.hold.last_status) <= entry_position(known):
            return None
        status = self.outbox.status_beyond(self.hold.job_id, known)
        return status if self._may_go(status) else None
