"""Lease of an attempt: renewed while Redis answers, the training held while it does not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal

from redis.exceptions import RedisError

from trainyard.contract.events import Held
from trainyard.store.attempt_writes import Renewal
from trainyard.store.job_store import JobStore
from worker.supervisor.training_link import TrainingLink

KEEPER_SHARE = 0.9
"""The keeper's lease ends before the store's, so that two attempts never write side by side."""
HOLD_SHARE = 0.5
"""Share of the lease that is left when the training is asked to hold."""

logger = logging.getLogger(__name__)


class LeaseGuard:
    """The lease of one attempt.

    Redis away: nobody else can have the job before the lease ends, and after that only a held
    training may live, because it writes nothing. Redis back: it goes on if the lease is still its
    own. ``lost``: another attempt has the job, or it has ended. ``ends`` is the
    ``time.monotonic()`` until which the lease surely holds.
    """

    def __init__(
        self,
        store: JobStore,
        job_id: str,
        attempt: int,
        link: TrainingLink,
        say: Callable[[str, int], None],
    ) -> None:
        self._store = store
        self._job_id = job_id
        self._attempt = attempt
        self._link = link
        self._say = say
        self._lease_s = store.lease_ms / 1000
        self.ends = time.monotonic() + self._lease_s
        self.held: Literal["", "asked", "held"] = ""
        self.lost = False
        self._away_since: float | None = None
        self._vouch()

    def renew(self) -> Renewal | None:
        """What the store says; None if Redis is away, or if the lease is lost."""
        asked_at = time.monotonic()
        try:
            lease = self._store.renew(self._job_id, self._attempt)
        except RedisError as error:
            self._without_redis(error)
            return None
        if not lease.held:
            self._lose(lease.status)
            return None
        self.ends = asked_at + self._lease_s
        if self._away_since is not None:
            away_s = asked_at - self._away_since
            logger.warning(
                "job %s: lease renewed again after %.1f s",
                self._job_id,
                away_s,
                extra=self._about("lease_renewed_again"),
            )
            self._away_since = None
        if self.held:
            self.held = ""
            self._say(
                "Redis is back and the lease is still ours: the training goes on", logging.INFO
            )
            self._link.command("continue")
        self._vouch()
        return lease

    def is_held(self, event: Held) -> None:
        """The training stands still, so the keeper need not end it when the lease does."""
        if self.held:
            self.held = "held"
            self._link.keeper.set_lease(None)
            self._say(f"Held at step {event.step} until Redis is back", logging.WARNING)

    def _about(self, action: str) -> dict[str, str]:
        return {"action": action, "job_id": self._job_id}

    def _vouch(self) -> None:
        self._link.keeper.set_lease(KEEPER_SHARE * self._lease_s)

    def _without_redis(self, error: RedisError) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            logger.warning(
                "job %s: lease not renewed, tried again until it is: %s",
                self._job_id,
                error,
                extra=self._about("lease_not_renewed"),
            )
        if not self.held and self.ends - time.monotonic() <= HOLD_SHARE * self._lease_s:
            self.held = "asked"
            self._say("Redis is away: the training is held at its next step", logging.WARNING)
            self._link.command("hold")

    def _lose(self, status: str) -> None:
        if not self.lost:
            self.lost = True
            why = (
                f"Another attempt has this job, or it has ended (it is {status})"
                if status
                else "The job store knows no such job any more: Redis was emptied or lost its data"
            )
            logger.error("job %s: %s", self._job_id, why, extra=self._about("lease_lost"))
            self._say(f"{why}: this attempt ends", logging.ERROR)
            self._link.keeper.kill()
