"""Sender: its turn with one job, events to the backend one request at a time.

A turn ends when nothing is left, when a lane that waited is due, when it took long enough or a
message was not taken while other jobs wait, or when the forwarder stops.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from redis.exceptions import RedisError

from backend_bridge.delivery.acknowledge import acknowledge
from backend_bridge.delivery.backend_client import Answer, BackendClient, Refused
from backend_bridge.delivery.messages import BackendMessage
from backend_bridge.delivery.outbox import Hold, Outbox
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.walk import Walk
from trainyard.store.connection import is_passing

_LOCK_SPARE_S = 1.0


@dataclass
class Turn:
    """A sender's turn; ``others_wait`` says whether another job wants this sender.

    ``troubled``: the backend refused, failed or was slow: such a job should not hold up others.
    """

    hold: Hold
    outbox: Outbox
    client: BackendClient
    policy: DeliveryPolicy
    stop: Event
    others_wait: Callable[[], bool]
    troubled: bool = False

    def run(self) -> bool:
        """Deliver until the turn ends; True if the job is due again at once.

        Raises HoldLost and redis.RedisError.
        """
        ends_at = time.monotonic() + self.policy.turn_s
        walk = Walk(self.hold, self.outbox.stream, self.policy)
        while (message := walk.next()) is not None:
            if self.stop.is_set() or (time.monotonic() > ends_at and self.others_wait()):
                break
            waits = acknowledge(self.hold, message, self._ask(message), self.policy)
            if not waits or message.endpoint == "points":  # of which it is known now if any arrived
                self._store()
            self.troubled = self.troubled or waits
            if waits and self.others_wait():
                break
        self.troubled = self.troubled or bool(walk.waiting)
        due_in_ms, seen = walk.rest()
        return self.outbox.release(self.hold, due_in_ms=due_in_ms, seen=seen)

    def _ask(self, message: BackendMessage) -> Answer:
        hold = self.hold
        if message.problem:
            return Refused(message.problem, None)
        if hold.token is None:
            return Refused("the job's token is not in the store", None)
        if message.endpoint == "points":
            hold.progress.points.unsure = True  # from now on it may have arrived
        ends_soon = hold.held_until - time.monotonic() - self.client.timeout_s < _LOCK_SPARE_S
        if ends_soon or message.is_new:
            self._store()
        asked_at = time.monotonic()
        # This process may be frozen here: nothing is sent once another may hold the job.
        answer = self.client.post(hold.job_id, hold.token, message, until=hold.held_until)
        self.troubled = self.troubled or time.monotonic() - asked_at > self.policy.slow_s
        return answer

    def _store(self) -> None:
        """Write down what the backend has, or may have, also while Redis is away or refuses writes.

        Forgotten, it would be sent again. Raises the last error if the forwarder stops.
        """
        while True:
            try:
                return self.outbox.hold(self.hold)
            except RedisError as error:
                if not is_passing(error) or self.stop.wait(self.policy.redis_pause_s):
                    raise
