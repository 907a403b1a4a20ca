"""One sender's turn with one job: its events to the backend, in order, one request at a time.

A turn ends when nothing is left, when the backend does not take the next message (the job goes
back with a time at which it is due again, and the sender is free for other jobs), when it took
long enough while others wait, or when the forwarder stops.

Where the backend lacks a route (405), that kind of event stays and the other kinds go by it;
for them the delivery hash has a place of their own ahead of the cursor.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from threading import Event

from redis.exceptions import ConnectionError, TimeoutError

from backend_bridge.client import (
    AccessRefused,
    Answer,
    BackendClient,
    Delivered,
    Refused,
    RouteMissing,
    TryAgain,
)
from backend_bridge.contract import TERMINAL
from backend_bridge.delivery_policy import DeliveryPolicy
from backend_bridge.messages import (
    REPORTED_KINDS,
    ROUTE_OF_KIND,
    LogMessage,
    Message,
    StatusMessage,
    gap_before,
    read_entry,
    send,
)
from backend_bridge.outbox import Claim, Entry, Outbox, entry_position

log = logging.getLogger(__name__)

PAGE_ENTRIES = 10
"""Entries read at a time; one holds up to 100 log lines."""

_LOCK_SPARE_S = 1.0
_WARN_EVERY = 10


class TurnEnd(Enum):
    """How a turn ended."""

    NOTHING_LEFT = auto()
    FAILED = auto()
    """The backend did not take a message; the job is due again later."""
    OTHERS_WAIT = auto()
    """The job is due at once."""
    NOT_TAKEN = auto()
    """The job is not due, or another sender has it."""


class _After(Enum):
    HANDLED = auto()
    KIND_BLOCKED = auto()
    PUT_BACK = auto()


@dataclass
class Turn:
    """A sender's turn; ``others_wait`` says whether another job wants this sender."""

    claim: Claim
    outbox: Outbox
    client: BackendClient
    policy: DeliveryPolicy
    stop: Event
    others_wait: Callable[[], bool]

    def __post_init__(self) -> None:
        self._ends_at = time.monotonic() + self.policy.turn_s
        self._blocked = {
            kind
            for kind in REPORTED_KINDS
            if self.claim.number(f"missing_{kind}") > self.claim.now_ms
        }
        self._left_behind = bool(self._blocked)
        self._scanned = self._start()

    def run(self) -> TurnEnd:
        """Deliver until the turn ends. Raises HoldLost and redis.RedisError."""
        while True:
            page = self.outbox.read(self.claim.job_id, self._scanned, PAGE_ENTRIES)
            if not page and self._give_back():
                return TurnEnd.FAILED if self._blocked else TurnEnd.NOTHING_LEFT
            for entry in page:
                if self.stop.is_set() or (time.monotonic() > self._ends_at and self.others_wait()):
                    self.outbox.put_back(self.claim, due_in_s=0)
                    return TurnEnd.OTHERS_WAIT
                after = self._handle(entry)
                if after is _After.PUT_BACK:
                    return TurnEnd.FAILED
                if after is _After.KIND_BLOCKED:
                    self._left_behind = True
                self._scanned = entry.entry_id

    # ------------------------------------------------------------ places in the stream

    def _start(self) -> str:
        """Where reading starts: before the first entry that may be sent now."""
        cursor = self.claim.state.get("cursor") or "0-0"
        if not self._blocked:
            return cursor
        places = [
            self.claim.state.get(f"ahead_{kind}") or "0-0"
            for kind in REPORTED_KINDS
            if kind not in self._blocked
        ]
        if not places:
            return cursor
        return max(cursor, min(places, key=entry_position), key=entry_position)

    def _mark(self, entry: Entry) -> None:
        """Note that ``entry`` needs nothing more."""
        if self._left_behind:
            self._move_ahead(entry.kind, entry.entry_id)
        else:
            self.claim.put("cursor", entry.entry_id)

    def _mark_done(self, entry: Entry) -> None:
        """Note that ``entry`` was delivered or set aside just now."""
        done = f"done_{entry.kind}"
        self.claim.put(done, self.claim.number(done) + 1)
        self._mark(entry)

    def _move_ahead(self, kind: str, entry_id: str) -> None:
        name = f"ahead_{kind}"
        if kind in REPORTED_KINDS and entry_position(entry_id) > self.claim.position(name):
            self.claim.put(name, entry_id)

    def _give_back(self) -> bool:
        """The end of the stream is reached; False where something came meanwhile."""
        if not self._left_behind:
            return self.outbox.finish(self.claim)
        for kind in set(REPORTED_KINDS) - self._blocked:
            self._move_ahead(kind, self._scanned)
        until = [self.claim.number(f"missing_{kind}") for kind in self._blocked]
        due_in_s = max(0.0, (min(until) - self.claim.now_ms) / 1000)
        return self.outbox.put_back_missing_route(
            self.claim, due_in_s=due_in_s, after=self._scanned
        )

    # ------------------------------------------------------------ one entry

    def _handle(self, entry: Entry) -> _After:
        if entry.kind in self._blocked:
            return _After.KIND_BLOCKED
        ahead = self.claim.position(f"ahead_{entry.kind}")
        if entry.kind not in REPORTED_KINDS or entry.position <= ahead:
            self._mark(entry)
            return _After.HANDLED
        try:
            message = read_entry(self.claim.job_id, entry)
        except (KeyError, ValueError) as error:
            return self._set_aside(entry, f"the entry cannot be read: {error}")
        if isinstance(message, StatusMessage) and self._comes_too_late(entry):
            return self._set_aside(entry, "a status after the attempt's terminal one")
        if isinstance(message, LogMessage):
            while gap := gap_before(self.claim, message):
                self.outbox.hold(self.claim)
                after = self._deliver(entry, gap)
                if after is not _After.HANDLED:
                    return after
        return self._deliver(entry, message)

    def _comes_too_late(self, entry: Entry) -> bool:
        # Attempt 0 is a refused request: it ends nothing, and nothing has ended before it.
        return 0 < int(entry.fields["attempt"]) <= self.claim.number("ended_attempt")

    def _deliver(self, entry: Entry, message: Message) -> _After:
        if self.claim.token is None:
            refused = Refused("the job's token is not in the store", None)
            return self._settle(entry, message, refused)
        spare_s = self.claim.held_until - time.monotonic() - self.client.timeout_s
        if spare_s < _LOCK_SPARE_S:
            self.outbox.hold(self.claim)
        answer = send(self.client, self.claim.job_id, self.claim.token, message)
        return self._settle(entry, message, answer)

    def _settle(self, entry: Entry, message: Message, answer: Answer) -> _After:
        """Write down what the backend's answer means."""
        match answer:
            case Delivered():
                self._note_delivered(entry, message)
                return _After.HANDLED
            case Refused(reason, http_status):
                self.claim.put("failures", "")
                return self._set_aside(entry, reason, message, http_status)
            case AccessRefused(reason, http_status):
                return self._no_access(entry, message, reason, http_status)
            case RouteMissing(route):
                return self._no_route(entry, route)
            case TryAgain(reason, retry_after_s):
                failures = self.claim.number("failures") + 1
                self.claim.put("failures", failures)
                pause_s = self.policy.backoff_s(failures, retry_after_s)
                return self._put_back(reason, pause_s, failures)

    def _note_delivered(self, entry: Entry, message: Message) -> None:
        for name in ("failures", "access_failures", "last_error"):
            self.claim.put(name, "")
        route_was_missing = bool(self.claim.state.get(f"missing_{entry.kind}"))
        self.claim.put(f"missing_{entry.kind}", "")
        if isinstance(message, StatusMessage) and message.status in TERMINAL:
            self.claim.put("ended_attempt", entry.fields["attempt"])
        self._note_lines(entry, message)
        self._keep_trying(lambda: self.outbox.hold(self.claim))
        if route_was_missing:
            self.outbox.note_missing_route(ROUTE_OF_KIND[entry.kind], missing=False)

    def _note_lines(self, entry: Entry, message: Message) -> None:
        """Move on in the log, and past the entry unless the line about a gap was all so far."""
        if isinstance(message, LogMessage):
            self.claim.put("next_line", message.next_line)
            if self.claim.state.get("gap"):
                self.claim.put("gap", "")
                return
        self._mark_done(entry)

    def _no_access(self, entry: Entry, message: Message, reason: str, http_status: int) -> _After:
        tries = self.claim.number("access_failures")
        if tries >= len(self.policy.access_delays_s):
            return self._set_aside(entry, reason, message, http_status)
        self.claim.put("access_failures", tries + 1)
        return self._put_back(reason, self.policy.access_delays_s[tries], tries + 1)

    def _no_route(self, entry: Entry, route: str) -> _After:
        pause_s = self.policy.missing_route_s()
        self.claim.put(f"missing_{entry.kind}", self.claim.now_ms + int(pause_s * 1000))
        self.claim.put("last_error", f"the backend lacks {route} (HTTP 405)")
        self._blocked.add(entry.kind)
        log.warning(
            "the backend lacks %s; these messages are kept and tried again every %d s",
            route,
            int(self.policy.missing_route_delay_s),
            extra={"action": "route_missing", "job_id": self.claim.job_id},
        )
        self.outbox.note_missing_route(route, missing=True)
        self.outbox.hold(self.claim)
        return _After.KIND_BLOCKED

    def _put_back(self, reason: str, pause_s: float, failures: int) -> _After:
        self.claim.put("last_error", reason)
        log.log(
            logging.WARNING if failures % _WARN_EVERY == 1 else logging.DEBUG,
            "job %s: not delivered (%s), try %d; again in %.1f s",
            self.claim.job_id,
            reason,
            failures,
            pause_s,
            extra={"action": "try_again", "job_id": self.claim.job_id},
        )
        self.outbox.put_back(self.claim, due_in_s=pause_s)
        return _After.PUT_BACK

    def _set_aside(
        self,
        entry: Entry,
        reason: str,
        message: Message | None = None,
        http_status: int | None = None,
    ) -> _After:
        log.warning(
            "job %s: %s %s set aside: %s",
            self.claim.job_id,
            entry.kind,
            entry.fields.get("sequence", entry.entry_id),
            reason,
            extra={"action": "set_aside", "job_id": self.claim.job_id},
        )
        if message is None:
            self._mark_done(entry)
        else:
            self._note_lines(entry, message)
        self.claim.put("last_error", reason)
        self._keep_trying(lambda: self.outbox.set_aside(self.claim, entry, reason, http_status))
        return _After.HANDLED

    def _keep_trying(self, write: Callable[[], None]) -> None:
        """Write down what the backend has taken, also over an outage of Redis.

        Forgotten, it would be sent again. Raises the last error where the forwarder stops.
        """
        while True:
            try:
                write()
            except (ConnectionError, TimeoutError):
                if self.stop.wait(self.policy.redis_pause_s):
                    raise
            else:
                return
