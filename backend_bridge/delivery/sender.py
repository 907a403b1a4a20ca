"""Sender: its turn with one job, events to the backend one request at a time.

A turn ends when nothing is left, when a lane that waited is due, when it took long enough or a
message was not taken while other jobs wait, or when the forwarder stops.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from pydantic import SecretStr
from redis.exceptions import RedisError

from backend_bridge.delivery import points
from backend_bridge.delivery.acknowledge import After, acknowledge, lacks_points
from backend_bridge.delivery.backend_client import (
    TOO_LARGE,
    Answer,
    BackendClient,
    Delivered,
    Refused,
)
from backend_bridge.delivery.log_bodies import gap_of
from backend_bridge.delivery.messages import (
    LANE_OF_KIND,
    ROUTE_OF_LANE,
    LogMessage,
    Message,
    PointsMessage,
    StatusMessage,
    read_entry,
    send,
)
from backend_bridge.delivery.outbox import Hold, Outbox, set_aside_record
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.row import acknowledge_row, row_of
from backend_bridge.delivery.total_timeout import deadline_at
from backend_bridge.delivery.walk import Walk
from trainyard.contract.backend_routes import ROUTES, WITHOUT, Endpoint
from trainyard.contract.events import LaneName
from trainyard.store.connection import is_passing
from trainyard.store.delivery_state import LANES
from trainyard.store.event_log import Entry

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
        self._first = True
        """Whether no metric was tried yet."""
        self._ends_at = time.monotonic() + self.policy.turn_s
        self._walk = Walk(self.hold, self.outbox, self.policy)

    def run(self) -> bool:
        """Deliver until the turn ends; True if the job is due again at once.

        Raises HoldLost and redis.RedisError.
        """
        walk = self._walk
        while (entry := walk.next()) is not None:
            if self._should_end() or (not self._deliver(entry) and self.others_wait()):
                return self.outbox.release(self.hold, due_in_ms=self._due_in_ms(0), seen="")
            self._tell_row()
        self._tell_row()
        self.troubled = self.troubled or len(walk.open) < len(LANES)
        seen = walk.seen if walk.open else ""
        return self.outbox.release(self.hold, due_in_ms=self._due_in_ms(None), seen=seen)

    def _should_end(self) -> bool:
        return (
            self.stop.is_set()
            or any(self._walk.is_due(name) for name in self._walk.waiting())
            or (time.monotonic() > self._ends_at and self.others_wait())
        )

    def _due_in_ms(self, of_the_open: int | None) -> int | None:
        """When the first lane is due; ``of_the_open``: when those are that do not wait."""
        due_ms = [self.progress.lane(name).due_ms for name in self._walk.waiting()]
        if self.progress.row.wanted:
            due_ms.append(self.progress.row.lane.due_ms)
        waits = [due - self.hold.now_ms for due in due_ms]
        if self._walk.open and of_the_open is not None:
            waits.append(of_the_open)
        return min(waits, default=None)

    def _lacks(self, endpoint: Endpoint) -> bool:
        return self.hold.lacks(ROUTES[endpoint], self.policy.optional_route_s)

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
        was_missing = self.progress.lane(name).refusal == "missing"
        answer = self._ask(lambda token: send(self.client, self.hold.job_id, token, message))
        self.hold.accepted = isinstance(answer, Delivered)
        self._first = self._first and name != "metric"
        after = acknowledge(self.progress, entry, message, answer, self.hold.now_ms, self.policy)
        match after:
            case After.LATER:
                self._wait(entry, name)
            case After.ANOTHER:
                self._store()
            case After.SET_ASIDE:
                http_status = getattr(answer, "http_status", TOO_LARGE)
                reason = self.progress.last_error
                self._set_aside(entry, reason, http_status, is_all=message.is_all)
            case After.DONE | After.SKIPPED:
                self._done(entry, is_all=message.is_all)
        if lacks_points(self.progress, message, answer):
            self._note_route(ROUTES["points"], missing=True)
        skipped = after is After.SKIPPED
        missing = skipped or self.progress.lane(name).refusal == "missing"
        route = ROUTES["points"] if isinstance(message, PointsMessage) else ROUTE_OF_LANE[name]
        if missing or was_missing or (after is After.DONE and route in self.hold.missing):
            self._note_route(route, missing=missing)
        return name in self._walk.open

    def _read(self, entry: Entry) -> Message:
        """The next request for an entry; what it follows from is stored before it is made."""
        hold, progress = self.hold, self.progress
        if points.go_together(progress, entry, first=self._first) and self._plan_points():
            together = self.outbox.between(hold.job_id, entry.entry_id, progress.points.to)
            is_sure, progress.points.unsure = not progress.points.unsure, True
            if is_sure:
                self.outbox.hold(hold)
            return points.points_message(hold.job_id, together, is_sure=is_sure)
        message = read_entry(hold.job_id, hold.user_id, entry, progress)
        if not isinstance(message, LogMessage) or entry.again or progress.gap:
            return message
        first_line = int(entry.fields["first_line"])
        cut = first_line - progress.next_line
        if cut <= 0:
            return message
        cut += self.outbox.lines_noted(hold.job_id, progress.next_line, first_line)
        progress.gap = gap_of(cut, message.key, first_line, message.lines)
        self.outbox.hold(hold)
        return read_entry(hold.job_id, hold.user_id, entry, progress)

    def _plan_points(self) -> bool:
        """Whether points go out together, and up to which."""
        if not self.progress.points.to and not self._lacks("points"):
            self.progress.points.to = points.plan(self.progress, self._walk.page)
        return self.progress.points.to != ""

    def _comes_too_late(self, entry: Entry) -> bool:
        # Attempt 0 is a refused request: it ends nothing, and nothing has ended before it.
        return 0 < int(entry.fields["attempt"]) <= self.progress.ended_attempt

    def _ask(self, request: Callable[[SecretStr], Answer]) -> Answer:
        if self.hold.token is None:
            return Refused("the job's token is not in the store", None)
        if self.hold.held_until - time.monotonic() - self.client.timeout_s < _LOCK_SPARE_S:
            self.outbox.hold(self.hold)
        asked_at = time.monotonic()
        with deadline_at(self.hold.held_until):  # this process may be frozen here
            answer = request(self.hold.token)
        self.troubled = self.troubled or time.monotonic() - asked_at > self.policy.slow_s
        return answer

    def _tell_row(self) -> None:
        """Tell the backend what is known of the job, if it is time, and it takes that."""
        row, hold = self.progress.row, self.hold
        if not row.wanted or row.lane.due_ms > hold.now_ms:
            return
        known = hold.user_id and row.status and not self._lacks("row")
        job = self.outbox.job(hold.job_id) if known else None
        if job is None:
            row.wanted = False
            return
        told, key = row_of(job, row.status), f"{job.attempt_id}:row-{hold.now_ms}"
        answer = self._ask(lambda token: self.client.post_row(job.job_id, token, key, told))
        missing = acknowledge_row(self.progress, answer, hold.now_ms, self.policy)
        if missing or ROUTES["row"] in hold.missing:
            self._note_route(ROUTES["row"], missing=missing)
        self._store()

    # ------------------------------------------------------------ what became of it

    def _note_route(self, route: str, *, missing: bool) -> None:
        if missing and route in WITHOUT:
            logger.info(
                "the backend lacks %s: %s", route, WITHOUT[route], extra={"action": "skip_route"}
            )
        self.hold.missing.pop(route, None)
        if missing:
            self.hold.missing[route] = time.time()
        self.outbox.note_missing_route(route, missing=missing)

    def _wait(self, entry: Entry, name: LaneName) -> None:
        lane = self.progress.lane(name)
        self._walk.keep_due()
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
            self._walk.pass_(entry)
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
