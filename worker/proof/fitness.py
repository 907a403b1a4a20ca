"""Fitness of a slot: it proves itself before it takes jobs, and again after each loss.

One that cannot is out of service with the reason, and tries again ever later, up to a minute. So is
one that loses several attempts or slot processes in a row, though its probes succeed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from worker.doubt import Doubt
from worker.proof.probe import ProbeEnd

LOSSES_UNTIL_OUT = 3
BACKOFF_FIRST_S, BACKOFF_MAX_S = 1.0, 60.0
TRUSTED_AFTER_S = 600.0
"""A slot that takes jobs for so long without a loss has none behind it."""

logger = logging.getLogger(__name__)


class SlotTrial(Protocol):
    """A probe, or a test's double of one."""

    def look(self) -> ProbeEnd | None: ...

    def slot_process_died(self) -> None: ...

    def close(self) -> None: ...


class Fitness:
    """Whether the slot is ``fit`` to take jobs; times are monotonic seconds.

    ``probe`` starts one. ``say`` is told the reason for which the slot is out of service, None if
    it is not (any more); False if that could not be said now.
    """

    def __init__(
        self, probe: Callable[[], SlotTrial], doubt: Doubt, say: Callable[[str | None], bool]
    ) -> None:
        self.fit = False
        self._start_probe = probe
        self._doubt = doubt
        self._say = say
        self._probe: SlotTrial | None = None
        self._failures = 0
        self._fit_since = 0.0
        self._try_at = 0.0
        self._untold: str | None = None
        self._is_told = True

    @property
    def is_probing(self) -> bool:
        return self._probe is not None

    def may_start_slot_process(self, now: float) -> bool:
        """Whether a slot process that has died may be started again: ever later, too."""
        return now >= self._try_at

    def slot_process_died(self, *, busy: bool) -> None:
        """Not counted if an attempt, which is lost with it, or a probe is: those count."""
        if self._probe is not None:
            self._probe.slot_process_died()
        else:
            self._doubt.arise() if busy else self._doubt.lost()

    def round(self, now: float) -> None:
        """Go on with what is under way. Often while it probes, else once a second."""
        if self._doubt.take():
            self._lose(now)
        if self._probe is not None:
            self._look(self._probe, now)
        elif not self.fit and now >= self._try_at:
            self._probe = self._start_probe()
        elif self.fit and now - self._fit_since > TRUSTED_AFTER_S:
            self._doubt.trusted()
        self._is_told = self._is_told or self._say(self._untold)

    def close(self) -> None:
        """End a probe that runs."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def _lose(self, now: float) -> None:
        """No job before the next proof, which a row of losses puts off."""
        self.close()
        self.fit = False
        row = self._doubt.losses
        if row < LOSSES_UNTIL_OUT:
            return
        self._try_at = now + _backoff_s(row - LOSSES_UNTIL_OUT + 2)
        self._tell(
            f"it lost {row} attempts or slot processes in a row; it tries again in "
            f"{self._try_at - now:g} s, and the workers' log says more"
        )

    def _look(self, probe: SlotTrial, now: float) -> None:
        end = probe.look()
        if end is None:
            return
        self.close()
        if not end.trouble:
            self.fit, self._fit_since, self._failures = True, now, 0
            self._tell(None)
            return
        self._failures += 1
        self._try_at = now + _backoff_s(self._failures)
        self._tell(end.trouble)

    def _tell(self, reason: str | None) -> None:
        if reason is not None and reason != self._untold:
            logger.error("out of service: %s", reason, extra={"action": "out_of_service"})
        self._untold, self._is_told = reason, False


def _backoff_s(nth: int) -> float:
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(nth - 1, 10))
