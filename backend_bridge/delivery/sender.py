"""Sender: its turn with one job, events to the backend one request at a time.

Statuses, metrics and log lines are three lanes, each delivered in order. As a rule they go out as
they were written, the oldest first. A lane that the backend does not take waits until its own due
time, and the other two go by; but a status waits for what was written before it, up to
``patience_s``. Statuses go first if what stands before them has waited for longer.

A turn ends when nothing is left, when a lane that waited is due, when it took long enough or a
message was not taken while other jobs wait, or when the forwarder stops.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from redis.exceptions import RedisError

from backend_bridge.delivery.acknowledge import After, acknowledge
from backend_bridge.delivery.backend_client import TOO_LARGE, Answer, BackendClient, Refused
from backend_bridge.delivery.log_bodies import gap_of
from backend_bridge.delivery.messages import (
    LANE_OF_KIND,
    ROUTE_OF_LANE,
    LogMessage,
    Message,
    StatusMessage,
    read_entry,
    send,
)
from backend_bridge.delivery.outbox import Hold, Outbox, set_aside_record
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.total_timeout import deadline_at
from trainyard.contract.events import LaneName
from trainyard.store.connection import is_passing
from trainyard.store.delivery_state import LANES
from trainyard.store.event_log import Entry, entry_position

logger = logging.getLogger(__name__)

_LOCK_SPARE_S = 1.0
_WARN_EVERY = 10
_LONG_S = 30.0


@dataclass
class Turn:
    """A sender's turn; ``others_wait`` says whether another job wants this sender."""

    hold: Hold
    outbox: Outbox
    client: BackendClient
    policy: DeliveryPolicy
    stop: Event
    others_wait: Callable[[], bool]

    def __post_init__(self) -> None:
        self.progress = self.hold.progress
        self.troubled = False
        """Whether the backend refused, failed or was slow: such a job should not hold up others."""
        self._ends_at = time.monotonic() + self.policy.turn_s
        self._open = {name for name in LANES if self._is_due(name)}
        positions = [self.progress.lane(name).position for name in self._open]
        self._seen = min(positions, key=entry_position, default="")
        self._again = self.hold.again > 0
        self._page: deque[Entry] = deque()
        self._read_to = "0-0" if self._again else self._seen

    def run(self) -> bool:
        """Deliver until the turn ends; True if the job is due again at once.

        Raises HoldLost and redis.RedisError.
        """
        while (entry := self._next()) is not None:
            if self._should_end() or (not self._deliver(entry) and self.others_wait()):
                return self.outbox.release(self.hold, due_in_ms=self._due_in_ms(0), seen="")
        self.troubled = self.troubled or len(self._open) < len(LANES)
        seen = self._seen if self._open else ""
        return self.outbox.release(self.hold, due_in_ms=self._due_in_ms(None), seen=seen)

    def _is_due(self, name: LaneName) -> bool:
        return self.progress.lane(name).due_ms <= self.hold.now_ms

    def _waiting(self) -> list[LaneName]:
        return [name for name in LANES if name not in self._open]

    def _should_end(self) -> bool:
        return (
            self.stop.is_set()
            or any(self._is_due(name) for name in self._waiting())
            or (time.monotonic() > self._ends_at and self.others_wait())
        )

    def _due_in_ms(self, of_the_open: int | None) -> int | None:
        """When the first lane is due; ``of_the_open``: when those are that do not wait."""
        waits = [self.progress.lane(name).due_ms - self.hold.now_ms for name in self._waiting()]
        if self._open and of_the_open is not None:
            waits.append(of_the_open)
        return min(waits, default=None)

    # ------------------------------------------------------------ which entry is next

    def _next(self) -> Entry | None:
        """The entry to be sent now; None if nothing is left that may be."""
        while self._open:
            while self._page:
                entry = self._page[0]
                if self._may_go(entry):
                    return self._status_before(entry) or entry
                self._pass(entry)
            self._page.extend(self.outbox.read(self.hold.job_id, self._read_to, again=self._again))
            if self._page:
                self._read_to = self._page[-1].entry_id
            elif self._again:
                self._again, self._read_to = False, self._seen
            else:
                return None
        return None

    def _may_go(self, entry: Entry) -> bool:
        name = LANE_OF_KIND.get(entry.kind)
        if name not in self._open:
            return False
        if entry.again:
            return True
        if not self.progress.lane(name).is_behind(entry.entry_id):
            return False
        if name == "status" and (wait_ms := self._wait_before(entry)) > 0:
            self._open.discard("status")
            self.progress.status.due_ms = self.hold.now_ms + wait_ms
            return False
        return True

    def _wait_before(self, status: Entry) -> int:
        """Milliseconds for which a status waits for older messages that were not taken."""
        patience_ms = int(1000 * self.policy.patience_s)
        waits = [0]
        for lane in map(self.progress.lane, self._waiting()):
            position = entry_position(lane.failing or "0-0")
            if lane.failing and lane.refusal != "missing" and position < status.position:
                lost_in_ms = position[0] + patience_ms - self.hold.now_ms
                waits.append(min(lost_in_ms, lane.due_ms - self.hold.now_ms))
        return max(waits)

    def _status_before(self, entry: Entry) -> Entry | None:
        """A status that goes before ``entry``, which has waited for too long to keep it waiting."""
        if entry.again or entry.kind == "status" or "status" not in self._open:
            return None
        if self.hold.now_ms - entry.position[0] <= 1000 * self.policy.patience_s:
            return None
        known = max(entry.entry_id, self.progress.status.position, key=entry_position)
        if entry_position(self.hold.last_status) <= entry_position(known):
            return None
        status = self.outbox.status_beyond(self.hold.job_id, known)
        return status if self._may_go(status) else None

    def _pass(self, entry: Entry) -> None:
        """Note that ``entry`` needs nothing more, as far as the open lanes go."""
        if self._page and entry is self._page[0]:
            self._page.popleft()
            if not entry.again:
                self._seen = entry.entry_id
                for lane in map(self.progress.lane, self._open):
                    lane.position = max(lane.position, entry.entry_id, key=entry_position)
        else:  # a status that went before others
            self.progress.status.position = entry.entry_id

    # ------------------------------------------------------------ one request

    def _deliver(self, entry: Entry) -> bool:
        """Make one request for an entry; False if its lane has to wait."""
        try:
            message = self._read(entry)
        except (KeyError, ValueError) as error:
            return self._set_aside(entry, f"the entry cannot be read: {error}")
        if isinstance(message, StatusMessage) and self._comes_too_late(entry):
            return self._set_aside(entry, "a status after the attempt's terminal one")
        name = LANE_OF_KIND[entry.kind]
        lane = self.progress.lane(name)
        was_missing = lane.refusal == "missing"
        answer = self._ask(message)
        match acknowledge(self.progress, entry, message, answer, self.hold.now_ms, self.policy):
            case After.LATER:
                self._wait(entry, name)
            case After.SMALLER:
                self._store()
            case After.SET_ASIDE:
                http_status = getattr(answer, "http_status", TOO_LARGE)
                reason = self.progress.last_error
                self._set_aside(entry, reason, http_status, is_all=message.is_all)
            case After.DONE:
                self._done(entry, is_all=message.is_all)
        if was_missing or lane.refusal == "missing":
            missing = lane.refusal == "missing"
            self.outbox.note_missing_route(ROUTE_OF_LANE[name], missing=missing)
        return name in self._open

    def _read(self, entry: Entry) -> Message:
        """The next request for an entry; what it follows from is stored before it is made."""
        message = read_entry(self.hold.job_id, entry, self.progress)
        if not isinstance(message, LogMessage) or entry.again or self.progress.gap:
            return message
        first_line = int(entry.fields["first_line"])
        cut = first_line - self.progress.next_line
        if cut <= 0:
            return message
        cut += self.outbox.lines_noted(self.hold.job_id, self.progress.next_line, first_line)
        self.progress.gap = gap_of(cut, message.key, first_line, message.lines)
        self.outbox.hold(self.hold)
        return read_entry(self.hold.job_id, entry, self.progress)

    def _comes_too_late(self, entry: Entry) -> bool:
        # Attempt 0 is a refused request: it ends nothing, and nothing has ended before it.
        return 0 < int(entry.fields["attempt"]) <= self.progress.ended_attempt

    def _ask(self, message: Message) -> Answer:
        if self.hold.token is None:
            return Refused("the job's token is not in the store", None)
        if self.hold.held_until - time.monotonic() - self.client.timeout_s < _LOCK_SPARE_S:
            self.outbox.hold(self.hold)
        asked_at = time.monotonic()
        with deadline_at(self.hold.held_until):  # this process may be frozen here
            answer = send(self.client, self.hold.job_id, self.hold.token, message)
        self.troubled = self.troubled or time.monotonic() - asked_at > self.policy.slow_s
        return answer

    # ------------------------------------------------------------ what became of it

    def _wait(self, entry: Entry, name: LaneName) -> None:
        lane = self.progress.lane(name)
        self._open = {one for one in self._open if self._is_due(one)}
        self.troubled = True
        pause_s = (lane.due_ms - self.hold.now_ms) / 1000
        news = lane.failures % _WARN_EVERY == 1 or pause_s >= _LONG_S
        logger.log(
            logging.WARNING if news else logging.DEBUG,
            "job %s: %s not delivered (%s), try %d; again in %.1f s",
            *(self.hold.job_id, entry.kind, self.progress.last_error, lane.failures, pause_s),
            extra={"action": "try_again", "job_id": self.hold.job_id},
        )

    def _set_aside(
        self, entry: Entry, reason: str, http_status: int | None = None, *, is_all: bool = True
    ) -> bool:
        """Put an entry where a person can see it and its reason, and go on with the next."""
        job_id = self.hold.job_id
        logger.warning(
            "job %s: %s %s set aside: %s",
            *(job_id, entry.kind, entry.fields.get("sequence", entry.entry_id), reason),
            extra={"action": "set_aside", "job_id": job_id},
        )
        self.progress.last_error = reason
        record = set_aside_record(job_id, entry, reason, http_status)
        self._done(entry, is_all=is_all, record=record)
        return True

    def _done(self, entry: Entry, *, is_all: bool, record: str = "") -> None:
        """One request for an entry was taken or set aside; ``is_all``: it needs no other."""
        if is_all:
            self.progress.lane(LANE_OF_KIND[entry.kind]).done += not entry.again
            self._pass(entry)
        self._store(record, entry.kind, entry.entry_id if entry.again and is_all else "")

    def _store(self, record: str = "", kind: str = "", sent_again: str = "") -> None:
        """Write down what the backend has taken, also while Redis is away or refuses writes.

        Forgotten, it would be sent again. Raises the last error if the forwarder stops.
        """
        while True:
            try:
                return self.outbox.hold(self.hold, record, kind, sent_again)
            except RedisError as error:
                if not is_passing(error) or self.stop.wait(self.policy.redis_pause_s):
                    raise
