"""Phases of an attempt: timed, reported, and the places where a cancel or a pause ends it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.channel import Channel
from trainyard.contract.events import Phase


class Phases:
    """Times the phases of an attempt and reports each as it ends; ``seconds`` holds them by name.

    A cancel ends the attempt between two phases; so does a pause while nothing was trained yet.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._left_out_s = 0.0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str, *, may_pause: bool = True) -> Iterator[None]:
        """Time the body under ``name``. Raises Stopped if a cancel was asked for, or Paused."""
        self._channel.agree()
        self._channel.stand_still_if_held(0)
        self._channel.raise_if_cancelled()
        if may_pause:
            self._channel.raise_if_asked_to_stop()
        started, self._left_out_s = time.monotonic(), 0.0
        yield
        self.note(name, time.monotonic() - started - self._left_out_s)

    def note(self, name: str, seconds: float) -> None:
        """A phase has ended that was timed elsewhere."""
        self.seconds[name] = round(seconds, 3)
        self._channel.send(Phase(name=name, seconds=self.seconds[name]))

    def leave_out(self, seconds: float) -> None:
        """Time within the phase that is not part of it: the training stood parked."""
        self._left_out_s += seconds
