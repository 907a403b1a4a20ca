"""What the backend's answer to a message means for the message, its kind and its job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from threading import Event

from redis.exceptions import RedisError

from backend_bridge.delivery.backend_client import (
    AccessRefused,
    Answer,
    Delivered,
    Refused,
    RouteMissing,
    TryAgain,
)
from backend_bridge.delivery.cursor import Claim
from backend_bridge.delivery.messages import ROUTE_OF_KIND, Message, StatusMessage
from backend_bridge.delivery.outbox import Outbox
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from trainyard.contract.statuses import TERMINAL
from trainyard.store.connection import is_passing
from trainyard.store.event_log import Entry

log = logging.getLogger(__name__)

_WARN_EVERY = 10


class After(Enum):
    """What became of an entry."""

    HANDLED = auto()
    """Delivered or set aside."""
    KIND_BLOCKED = auto()
    """It stays, with all of its kind; other kinds may go by."""
    PUT_BACK = auto()
    """It stays, and the job was given back."""


@dataclass
class Settlement:
    """Writes answers down in the claim and in Redis, for one turn.

    ``blocked``: the kinds that are not tried now; a settlement may add to it.
    """

    claim: Claim
    outbox: Outbox
    policy: DeliveryPolicy
    stop: Event
    blocked: set[str]

    def __call__(
        self, entry: Entry, message: Message, answer: Answer, mark: Callable[[], None]
    ) -> After:
        """Settle ``message``, which is ``entry`` or a part of it; ``mark`` notes that it is done.

        Raises HoldLost and redis.RedisError.
        """
        match answer:
            case Delivered():
                mark()
                return self._delivered(entry, message)
            case Refused(reason, http_status):
                mark()
                self.claim.put(f"failures_{entry.kind}", "")
                return self.set_aside(entry, reason, http_status)
            case AccessRefused(reason, http_status):
                tries = self.claim.number("access_failures")
                if tries >= len(self.policy.access_delays_s):
                    mark()
                    return self.set_aside(entry, reason, http_status)
                self.claim.put("access_failures", tries + 1)
                self._note_failure(entry, reason, self.policy.access_delays_s[tries], tries + 1)
                return self._put_back(self.policy.access_delays_s[tries])
            case RouteMissing(route):
                return self._no_route(entry, route)
            case TryAgain(reason, retry_after_s):
                return self._try_again(entry, reason, retry_after_s)

    def lost_patience(self, entry: Entry) -> bool:
        """Whether ``entry`` has waited for so long that others may go by it."""
        return self.claim.now_ms - entry.position[0] > self.policy.patience_s * 1000

    def set_aside(self, entry: Entry, reason: str, http_status: int | None = None) -> After:
        """Put an entry, which is marked already, where a person can see it and its reason."""
        log.warning(
            "job %s: %s %s set aside: %s",
            self.claim.job_id,
            entry.kind,
            entry.fields.get("sequence", entry.entry_id),
            reason,
            extra={"action": "set_aside", "job_id": self.claim.job_id},
        )
        self._count_done(entry)
        self.claim.put("last_error", reason)
        self._keep_trying(lambda: self.outbox.set_aside(self.claim, entry, reason, http_status))
        return After.HANDLED

    # ------------------------------------------------------------ answers

    def _delivered(self, entry: Entry, message: Message) -> After:
        route_was_missing = bool(self.claim.state.get(f"missing_{entry.kind}"))
        for name in ("failures", "later", "missing"):
            self.claim.put(f"{name}_{entry.kind}", "")
        self.claim.put("access_failures", "")
        if not self.blocked:
            self.claim.put("last_error", "")
        if isinstance(message, StatusMessage) and message.status in TERMINAL:
            self.claim.put("ended_attempt", entry.fields["attempt"])
        self._count_done(entry)
        self._keep_trying(lambda: self.outbox.hold(self.claim))
        if route_was_missing:
            self.outbox.note_missing_route(ROUTE_OF_KIND[entry.kind], missing=False)
        return After.HANDLED

    def _try_again(self, entry: Entry, reason: str, retry_after_s: float | None) -> After:
        """Keep order while it is young; later its kind waits alone.

        A Retry-After is meant for all kinds; those that did not fail have the first try after it.
        """
        failures = self.claim.number(f"failures_{entry.kind}") + 1
        self.claim.put(f"failures_{entry.kind}", failures)
        asked_for_s = min(retry_after_s or 0.0, self.policy.retry_after_cap_s)
        pause_s = self.policy.backoff_s(failures, retry_after_s)
        self._note_failure(entry, reason, pause_s, failures)
        if not self.lost_patience(entry):
            return self._put_back(pause_s)
        self._block(entry.kind, pause_s)
        if asked_for_s:
            return self._put_back(asked_for_s)
        self.outbox.hold(self.claim)
        return After.KIND_BLOCKED

    def _no_route(self, entry: Entry, route: str) -> After:
        self._block(entry.kind, self.policy.missing_route_s())
        self.claim.put(f"missing_{entry.kind}", "1")
        self.claim.put("last_error", f"the backend lacks {route} (HTTP 405)")
        log.warning(
            "the backend lacks %s; these messages are kept and tried again every %d s",
            route,
            int(self.policy.missing_route_delay_s),
            extra={"action": "route_missing", "job_id": self.claim.job_id},
        )
        self.outbox.note_missing_route(route, missing=True)
        self.outbox.hold(self.claim)
        return After.KIND_BLOCKED

    # ------------------------------------------------------------ what they have in common

    def _block(self, kind: str, pause_s: float) -> None:
        self.claim.put(f"later_{kind}", self.claim.now_ms + int(pause_s * 1000))
        self.blocked.add(kind)

    def _count_done(self, entry: Entry) -> None:
        if entry.kind != "log":  # of logs the lines are counted
            done = f"done_{entry.kind}"
            self.claim.put(done, self.claim.number(done) + 1)

    def _note_failure(self, entry: Entry, reason: str, pause_s: float, failures: int) -> None:
        self.claim.put("last_error", reason)
        log.log(
            logging.WARNING if failures % _WARN_EVERY == 1 else logging.DEBUG,
            "job %s: %s not delivered (%s), try %d; again in %.1f s",
            self.claim.job_id,
            entry.kind,
            reason,
            failures,
            pause_s,
            extra={"action": "try_again", "job_id": self.claim.job_id},
        )

    def _put_back(self, pause_s: float) -> After:
        self.outbox.put_back(self.claim, due_in_s=pause_s)
        return After.PUT_BACK

    def _keep_trying(self, write: Callable[[], None]) -> None:
        """Write down what the backend has taken, also while Redis is away or refuses writes.

        Forgotten, it would be sent again. Raises the last error where the forwarder stops.
        """
        while True:
            try:
                write()
            except RedisError as error:
                if not is_passing(error) or self.stop.wait(self.policy.redis_pause_s):
                    raise
            else:
                return
