"""The channel as the ranks of one training share it: the first one's, and every rank obeys it.

A command reaches the first rank alone, at any moment. The ranks act on what it knew at the last
:meth:`RankChannel.settle`, to which all of them come between the same two steps, so that all stop
at the same one.
"""

from __future__ import annotations

import logging
import threading

from tasks.channel import Channel
from tasks.errors import Paused, Stopped
from tasks.ranks.ranks import Ranks
from trainyard.contract.events import Event

logger = logging.getLogger(__name__)


class RankChannel(Channel):
    """As :class:`tasks.channel.Channel`; ``channel`` is None in all ranks but the first.

    What another rank sends goes nowhere.
    """

    def __init__(self, ranks: Ranks, channel: Channel | None) -> None:
        self._ranks = ranks
        self._channel = channel
        self.cancel_requested = threading.Event()
        self.pause_requested = threading.Event()
        self.hold_requested = threading.Event()

    def settle(self) -> None:
        """Take over what the first rank has been asked for; every rank has to come here."""
        sticky = (self.cancel_requested, self.pause_requested)
        agreed = self._ranks.flags_of_first(
            [
                self._channel is not None and (flag.is_set() or asked.is_set())
                for flag, asked in zip(sticky, self._asked(), strict=True)
            ]
            + [self._channel is not None and self._channel.hold_requested.is_set()]
        )
        for flag, value in zip((*sticky, self.hold_requested), agreed, strict=True):
            if value:
                flag.set()
            else:
                flag.clear()

    def _asked(self) -> tuple[threading.Event, threading.Event]:
        if self._channel is None:
            return (self.cancel_requested, self.pause_requested)
        return (self._channel.cancel_requested, self._channel.pause_requested)

    def send(self, event: Event) -> None:
        """Queue ``event`` for the supervisor, in the first rank."""
        if self._channel is not None:
            self._channel.send(event)

    def stand_still_if_held(self, step: int) -> bool:
        """As in one process; the other ranks wait for the first one."""
        if not self.hold_requested.is_set():
            return False
        if self._channel is not None:
            try:
                self._channel.stand_still_if_held(step)
            except Stopped:
                # Cancelled, or the supervisor is gone: the others have to hear it too.
                self.cancel_requested.set()
        self.settle()
        self.raise_if_cancelled()
        return True

    def raise_if_asked_to_stop(self) -> None:
        """As in one process, on what was settled."""
        self.raise_if_cancelled()
        if self.pause_requested.is_set():
            raise Paused

    def finish(self) -> None:
        """Write out what is queued."""
        if self._channel is not None:
            self._channel.finish()
