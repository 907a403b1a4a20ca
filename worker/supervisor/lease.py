"""Lease of an attempt: renewed while Redis answers, the training held while it does not.

A thread does so, on a connection of its own: what the supervisor takes its time for (a flood of log
lines, their redaction, a slow call of Redis) costs no lease. A process that is frozen renews
nothing, nor does one whose supervisor is stuck.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, Self

from redis.exceptions import RedisError

from trainyard.contract.events import Held
from trainyard.store.attempt_writes import Renewal
from trainyard.store.job import Job
from trainyard.store.job_store import JobStore
from worker.machine.energy import EnergyReader, metering
from worker.supervisor.ask_listener import listening_for_asks
from worker.supervisor.training_link import TrainingLink

RENEW_EVERY_S = 1.0
"""How often the store is asked whether the job is still ours and what people want of it; both are
asked at once when somebody wants something."""
RENEWALS_PER_LEASE = 8
"""And no less often than so: a short lease stands some lost renewals too."""
ALONE_S = 300.0
"""A supervisor that has not looked for so many seconds of renewals is stuck: its job is let go."""
KEEPER_SHARE = 0.9
"""The keeper's lease ends before the store's, so that two attempts never write side by side."""
ENERGY_EVERY_S = 5.0
"""How often the energy goes along with a renewal: what a crash takes away of it at most."""
HOLD_SHARE = 0.5
"""Share of the lease that is left when the training is asked to hold."""

logger = logging.getLogger(__name__)


class LeaseGuard:
    """The lease of one attempt: a context manager, within which it is renewed.

    Redis away: nobody else can have the job before the lease ends, and after that only a held
    training may live, because it writes nothing. Redis back: it goes on if the lease is still its
    own. ``lost``: another attempt has the job, or it has ended. ``ends`` is the
    ``time.monotonic()`` until which the lease surely holds. ``energy_mj`` reads the
    energy used, which is written down now and then, and last when this ends.

    The thread asks, holds, vouches and kills by itself, so that none of it waits for the
    supervisor. Both write to the training and its keeper: each message is small, and the kernel
    takes it whole.
    """

    def __init__(
        self,
        store: JobStore,
        job_id: str,
        attempt: int,
        energy_mj: EnergyReader | None = None,
    ) -> None:
        self._store = store
        self._job_id = job_id
        self._attempt = attempt
        self._lease_s = store.lease_ms / 1000
        self._every_s = min(RENEW_EVERY_S, self._lease_s / RENEWALS_PER_LEASE)
        self.ends = time.monotonic() + self._lease_s
        self.held: Literal["", "asked", "held"] = ""
        self.lost = False
        self._heard: Renewal | None = None
        self._words: deque[tuple[str, int]] = deque()
        self._link: TrainingLink | None = None
        self._away_since: float | None = None
        self._rounds_alone = 0
        self._energy_mj = energy_mj
        self._energy_due = 0.0
        self._lock = threading.Lock()
        self._over = False
        self._stirred = threading.Event()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._keep_renewing, name="lease")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._over = True
        self.stir()
        self._thread.join()
        if self._energy_mj is not None and not self.lost:
            self._energy_due = 0.0
            self.renew()
        os.close(self._wakeup)

    @contextlib.contextmanager
    def guarding(self, link: TrainingLink) -> Iterator[None]:
        """Vouch for the training behind ``link``, hold it and end it as the lease asks for."""
        link.watch_wakeups(self._wakeup)
        with self._lock:
            self._link = link
            self._vouch(link)
            if self.lost:
                link.keeper.kill()
        try:
            with listening_for_asks(self._store.redis, self._job_id, self.stir):
                yield
        finally:
            with self._lock:
                self._link = None

    def look(self) -> Renewal | None:
        """For the supervisor, each round: what the store said last; None if Redis is away, or if
        the lease is lost."""
        self._rounds_alone = 0
        return self._heard

    def is_ours(self) -> bool:
        """Whether this attempt may still write into the job's folder.

        Whoever was frozen past the lease's end asks first: another attempt may have it.
        """
        if not self.lost and self._away_since is None and time.monotonic() >= self.ends:
            self.renew()
        return not self.lost

    def words(self) -> Iterator[tuple[str, int]]:
        """What is to stand in the job's log since the last call, with its level."""
        while self._words:
            yield self._words.popleft()

    def is_held(self, event: Held) -> None:
        """The training stands still, so the keeper need not end it when the lease does."""
        with self._lock:
            if self.held and self._link is not None:
                self.held = "held"
                self._link.keeper.set_lease(None)
                self._say(f"Held at step {event.step} until Redis is back", logging.WARNING)

    def renew(self) -> None:
        """Ask the store once, and do what follows."""
        heard, asked_at = None, time.monotonic()
        try:
            renewal = self._store.renew(self._job_id, self._attempt, self._energy(asked_at))
        except RedisError as error:
            with self._lock:
                self._without_redis(error)
        else:
            with self._lock:
                if renewal.held:
                    self._renewed(asked_at)
                    heard = renewal
                else:
                    self._lose(renewal.status)
        if heard != self._heard:
            self._heard = heard
            os.eventfd_write(self._wakeup, 1)

    def _energy(self, now: float) -> int | None:
        if self._energy_mj is None or now < self._energy_due:
            return None
        self._energy_due = now + ENERGY_EVERY_S
        return self._energy_mj()

    def stir(self) -> None:
        """Let it be renewed now, and not only when it is time."""
        self._stirred.set()

    def _keep_renewing(self) -> None:
        while not self._over and not self._is_stuck():
            self._stirred.clear()
            self.renew()
            self._stirred.wait(0.0 if self._over else self._every_s)

    def _is_stuck(self) -> bool:
        """Rounds are counted, and not time: a freeze of all is nobody's fault."""
        self._rounds_alone += 1
        if self._rounds_alone * self._every_s <= ALONE_S:
            return False
        logger.error(
            "job %s: its supervisor has not looked for %.0f s: the lease is renewed no more",
            self._job_id,
            ALONE_S,
            extra=self._about("supervisor_stuck"),
        )
        return True

    def _renewed(self, asked_at: float) -> None:
        self.ends = asked_at + self._lease_s
        if self._away_since is not None:
            logger.warning(
                "job %s: lease renewed again after %.1f s",
                self._job_id,
                asked_at - self._away_since,
                extra=self._about("lease_renewed_again"),
            )
            self._away_since = None
        if self._link is None:
            return
        if self.held:
            self.held = ""
            self._say(
                "Redis is back and the lease is still ours: the training goes on", logging.INFO
            )
            self._link.command("continue")
        self._vouch(self._link)

    def _vouch(self, link: TrainingLink) -> None:
        left_s = self.ends - time.monotonic() - (1 - KEEPER_SHARE) * self._lease_s
        link.keeper.set_lease(max(0.0, left_s))

    def _without_redis(self, error: RedisError) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            logger.warning(
                "job %s: lease not renewed, tried again until it is: %s",
                self._job_id,
                error,
                extra=self._about("lease_not_renewed"),
            )
        if self._link is None or self.held:
            return
        if self.ends - time.monotonic() <= HOLD_SHARE * self._lease_s:
            self.held = "asked"
            self._say("Redis is away: the training is held at its next step", logging.WARNING)
            self._link.command("hold")

    def _lose(self, status: str) -> None:
        if self.lost:
            return
        self.lost = True
        why = (
            f"Another attempt has this job, or it has ended (it is {status})"
            if status
            else "The job store knows no such job any more: Redis was emptied or lost its data"
        )
        logger.error("job %s: %s", self._job_id, why, extra=self._about("lease_lost"))
        self._say(f"{why}: this attempt ends", logging.ERROR)
        if self._link is not None:
            self._link.keeper.kill()

    def _say(self, text: str, level: int) -> None:
        self._words.append((text, level))
        os.eventfd_write(self._wakeup, 1)

    def _about(self, action: str) -> dict[str, str]:
        return {"action": action, "job_id": self._job_id}


@contextlib.contextmanager
def metered_lease(store: JobStore, job: Job, devices: str) -> Iterator[LeaseGuard]:
    """The lease of the job's attempt, and the energy of ``devices`` written down with it."""
    with (
        metering(devices) as energy_mj,
        LeaseGuard(store, job.job_id, job.attempt, energy_mj) as lease,
    ):
        yield lease
