"""Channel of several ranks: the first one speaks with the supervisor, and every rank obeys.

A command reaches only the first rank, at any moment. The ranks act on what it knew at the last
:meth:`RankChannel.agree`, to which all of them come between the same two steps, so that all stop
at the same one.
"""

from __future__ import annotations

import threading

from tasks.channel import Channel
from tasks.errors import Stopped
from tasks.ranks.ranks import Ranks
from trainyard.contract.events import Event


class RankChannel(Channel):
    """One rank's side. ``channel``, to the supervisor, is None in all ranks but the first.

    What another rank sends goes nowhere.
    """

    def __init__(self, ranks: Ranks, channel: Channel | None) -> None:
        super().__init__()
        self._ranks = ranks
        self._channel = channel

    def agree(self) -> None:
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
        if self._channel is not None:
            self._channel.send(event)

    def send_now(self, event: Event) -> None:
        if self._channel is not None:
            self._channel.send_now(event)

    def stand_still_if_held(self, step: int) -> bool:
        """The first rank stands still; the others wait for it."""
        if not self.hold_requested.is_set():
            return False
        if self._channel is not None:
            try:
                self._channel.stand_still_if_held(step)
            except Stopped:
                # Cancelled, or the supervisor is gone: the others have to hear it too.
                self.cancel_requested.set()
        self.agree()
        self.raise_if_cancelled()
        return True

    def finish(self) -> None:
        if self._channel is not None:
            self._channel.finish()
