"""One sender's turn with one job: its events to the backend, in order, one request at a time.

A turn ends when nothing is left, when the backend does not take the next message (the job goes
back with a time at which it is due again, and the sender is free for other jobs), when it took
long enough while others wait, or when the forwarder stops.

Statuses, metrics and logs are each delivered in order, and as a rule all of them in the order in
which they were written. There are three exceptions, for which the delivery hash has a place of its
own for each kind, ahead of the cursor:

- a kind that the backend does not take (it lacks the route, or a message has failed for
  ``patience_s``) stays, and the other kinds go by it;
- statuses go first where what stands before them has waited for ``patience_s``;
- short log entries go out together.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from threading import Event

from backend_bridge.delivery.acknowledge import After, Settlement
from backend_bridge.delivery.backend_client import BackendClient, Refused
from backend_bridge.delivery.cursor import Claim
from backend_bridge.delivery.log_batches import batch_of, gap_before, plan_batch
from backend_bridge.delivery.messages import (
    REPORTED_KINDS,
    LogMessage,
    Message,
    StatusMessage,
    read_entry,
    send,
)
from backend_bridge.delivery.outbox import Outbox
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.total_timeout import deadline_at
from trainyard.store.event_log import Entry, entry_position

_LOCK_SPARE_S = 1.0


class TurnEnd(Enum):
    """How a turn ended."""

    NOTHING_LEFT = auto()
    FAILED = auto()
    """The backend did not take a message; the job is due again later."""
    OTHERS_WAIT = auto()
    """The job is due at once."""


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
        self._slow = False
        self._blocked = {
            kind
            for kind in REPORTED_KINDS
            if self.claim.number(f"later_{kind}") > self.claim.now_ms
        }
        self._settle = Settlement(self.claim, self.outbox, self.policy, self.stop, self._blocked)
        self._left_behind = bool(self._blocked)
        self._scanned = self._start()
        self._page: deque[Entry] = deque()
        self._at: Entry | None = None

    @property
    def troubled(self) -> bool:
        """Whether the backend refused, failed or was slow: such a job should not hold up others."""
        return self._slow or bool(self._blocked)

    def run(self) -> TurnEnd:
        """Deliver until the turn ends. Raises HoldLost and redis.RedisError."""
        while True:
            self._page = deque(self.outbox.read(self.claim.job_id, self._scanned))
            if not self._page and self._give_back():
                return TurnEnd.FAILED if self._blocked else TurnEnd.NOTHING_LEFT
            while self._page:
                if self.stop.is_set() or (time.monotonic() > self._ends_at and self.others_wait()):
                    self.outbox.put_back(self.claim, due_in_s=0)
                    return TurnEnd.OTHERS_WAIT
                entry = self._at = self._page.popleft()
                after = self._handle(entry)
                if after is After.PUT_BACK:
                    return TurnEnd.FAILED
                self._scanned = entry.entry_id
                if after is After.KIND_BLOCKED:
                    self._go_by()
                    if len(self._blocked) == len(REPORTED_KINDS):
                        self.outbox.put_back(self.claim, due_in_s=self._blocked_for_s())
                        return TurnEnd.FAILED

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

    def _go_by(self) -> None:
        """An entry stays behind; skip what the other kinds have handled already."""
        self._left_behind = True
        start = self._start()
        if entry_position(start) > entry_position(self._scanned):
            self._scanned = start
            self._page.clear()

    def _mark(self, entry: Entry) -> None:
        """Note that ``entry`` needs nothing more."""
        if self._left_behind or entry is not self._at:
            self._move_ahead(entry.kind, entry.entry_id)
        else:
            self.claim.put("cursor", entry.entry_id)

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
        return self.outbox.put_back_kind(
            self.claim, due_in_s=self._blocked_for_s(), after=self._scanned
        )

    def _blocked_for_s(self) -> float:
        """Seconds until the first blocked kind is tried again."""
        until = (self.claim.number(f"later_{kind}") for kind in self._blocked)
        return max(0.0, (min(until, default=0) - self.claim.now_ms) / 1000)

    # ------------------------------------------------------------ one entry

    def _handle(self, entry: Entry) -> After:
        if entry.kind in self._blocked:
            return After.KIND_BLOCKED
        if entry.kind not in REPORTED_KINDS or self._is_handled(entry):
            self._mark(entry)
            return After.HANDLED
        if self._holds_up_a_status(entry):
            for status in self.outbox.statuses_beyond(self.claim.job_id, entry):
                if not self._is_handled(status):
                    after = self._send_entry(status)
                    if after is After.PUT_BACK:
                        return after
                    if after is After.KIND_BLOCKED:
                        break
        return self._send_entry(entry)

    def _is_handled(self, entry: Entry) -> bool:
        return entry.position <= self.claim.position(f"ahead_{entry.kind}")

    def _holds_up_a_status(self, entry: Entry) -> bool:
        """Whether ``entry`` has waited too long to keep the statuses behind it waiting."""
        known = max(entry.position, self.claim.position("ahead_status"))
        return (
            entry.kind != "status"
            and "status" not in self._blocked
            and entry_position(self.claim.last_status) > known
            and self._settle.lost_patience(entry)
        )

    def _send_entry(self, entry: Entry) -> After:
        try:
            message = read_entry(self.claim.job_id, entry)
        except (KeyError, ValueError) as error:
            self._mark(entry)
            return self._settle.set_aside(entry, f"the entry cannot be read: {error}")
        if isinstance(message, StatusMessage) and self._comes_too_late(entry):
            self._mark(entry)
            return self._settle.set_aside(entry, "a status after the attempt's terminal one")
        if not isinstance(message, LogMessage):
            return self._deliver(entry, message, lambda: self._mark(entry))
        while gap := gap_before(self.claim, message, self.outbox):
            self.outbox.hold(self.claim)
            after = self._deliver(entry, gap, lambda gap=gap: self._move_on_to(gap))  # type: ignore[misc]
            if after is not After.HANDLED:
                return after
        batch, entries = batch_of(self.claim, message, entry, self._page, self.outbox)
        return self._deliver(entry, batch, lambda: self._mark_batch(batch, entries))

    def _comes_too_late(self, entry: Entry) -> bool:
        # Attempt 0 is a refused request: it ends nothing, and nothing has ended before it.
        return 0 < int(entry.fields["attempt"]) <= self.claim.number("ended_attempt")

    def _move_on_to(self, gap: LogMessage) -> None:
        self.claim.put("next_line", gap.next_line)
        self.claim.put("gap", "")

    def _mark_batch(self, batch: LogMessage, entries: list[Entry]) -> None:
        self.claim.put("next_line", batch.next_line)
        for entry in entries:
            self._mark(entry)
        plan_batch(self.claim, self._page)

    def _deliver(self, entry: Entry, message: Message, mark: Callable[[], None]) -> After:
        """Send one message; ``mark`` notes that it needs nothing more."""
        if self.claim.token is None:
            refused = Refused("the job's token is not in the store", None)
            return self._settle(entry, message, refused, mark)
        spare_s = self.claim.held_until - time.monotonic() - self.client.timeout_s
        if spare_s < _LOCK_SPARE_S:
            self.outbox.hold(self.claim)
        asked = time.monotonic()
        with deadline_at(self.claim.held_until):  # this process may be frozen here
            answer = send(self.client, self.claim.job_id, self.claim.token, message)
        self._slow = self._slow or time.monotonic() - asked > self.policy.slow_s
        return self._settle(entry, message, answer, mark)
