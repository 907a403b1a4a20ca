"""Verdicts on a training while it goes on: kept, logged, and told to the supervisor."""

from __future__ import annotations

import logging

from tasks.channel import Channel
from trainyard.contract.events import Warnings
from trainyard.contract.verdicts import VERDICTS_MAX, Verdict, VerdictKind

_CHARACTERS_MAX = 1000

logger = logging.getLogger(__name__)


class Verdicts:
    """What is to be said of a training, in the order in which it was found.

    Past VERDICTS_MAX nothing more is kept; the log has it.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.found: list[Verdict] = []

    def add(self, kind: VerdictKind, sentence: str, *, logged: bool = False) -> None:
        """Say it, once. ``logged``: it stands in the log in other words already."""
        verdict = Verdict(kind=kind, sentence=sentence[:_CHARACTERS_MAX])
        if verdict in self.found:
            return
        if not logged:
            level = logging.INFO if kind is VerdictKind.TRAINED_PART else logging.WARNING
            logger.log(level, "%s", sentence)
        if len(self.found) < VERDICTS_MAX:
            self.found.append(verdict)
            self._channel.send(Warnings(warnings=self.found))

    def clear(self) -> None:
        """The attempt begins again."""
        self.found.clear()
