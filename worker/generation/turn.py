"""Turn of the questions on a slot: how long a model stays there, and what goes first after it.

Questions go before the jobs that wait. So that a training has its slot nevertheless, those that
come while one waits have a turn together, and then it goes before them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from trainyard.contract.generation.messages import AskedOfJob
from trainyard.scheduling.dispatch import Dispatcher
from trainyard.scheduling.generations import TURN_S, Generations

KEPT_FOR_S, KEPT_FROM_OTHERS_S = 60.0, 2.0
"""How long a model without questions stays loaded; the second, while a training waits: so soon the
next one of a file comes."""


class QuestionTurn:
    """From the first question on. Each method raises RedisError."""

    def __init__(
        self, dispatcher: Dispatcher, slot: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._dispatcher = dispatcher
        self._generations = Generations(dispatcher.queue.redis)
        self._slot = slot
        self._monotonic = monotonic
        self._ends = monotonic() + TURN_S

    def is_over(self, answered_at: float) -> bool:
        """Whether the model is to go, of which the last answer ended then."""
        now = self._monotonic()
        if not self._dispatcher.slots.takes_jobs(self._slot):
            return True
        if not self._training_waits():
            return now > answered_at + KEPT_FOR_S
        return now > min(answered_at + KEPT_FROM_OTHERS_S, self._ends)

    def take(self) -> tuple[str, AskedOfJob] | None:
        """The next question, as the only one; None if none waits that this slot may answer."""
        for name, asked in self._generations.questions().items():
            mine = asked.slot in (None, self._slot)
            if mine and (claimed := self._generations.claim(name)) is not None:
                self._dispatcher.queue.remove(name)
                return name, claimed
        return None

    def end(self) -> None:
        """Let a training that waits go before the questions that wait."""
        if self._training_waits():
            self._dispatcher.goes_next(self._slot)

    def _training_waits(self) -> bool:
        aside = (job.parked_on == self._slot for job in self._dispatcher.store.made_way())
        return self._dispatcher.queue.count([self._slot]) > 0 or any(aside)
