"""The phases of an attempt, timed and reported."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.channel import Channel
from trainyard.contract.events import Phase


class Phases:
    """Times the phases of an attempt and reports each as it ends.

    A cancel ends the attempt between two phases; so does a pause while ``may_pause``, before there
    is anything to save.
    """

    def __init__(self, channel: Channel, seconds: dict[str, float]) -> None:
        self._channel = channel
        self._left_out_s = 0.0
        self.seconds = seconds
        self.may_pause = True

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the body under ``name``. Raises Stopped where a cancel was asked for, or Paused."""
        self._channel.settle()
        self._channel.stand_still_if_held(0)
        self._channel.raise_if_cancelled()
        if self.may_pause:
            self._channel.raise_if_asked_to_stop()
        started, self._left_out_s = time.monotonic(), 0.0
        yield
        self.seconds[name] = round(time.monotonic() - started - self._left_out_s, 3)
        self._channel.send(Phase(name=name, seconds=self.seconds[name]))

    def leave_out(self, seconds: float) -> None:
        """Time within the phase that is not part of it: the training stood parked."""
        self._left_out_s += seconds
