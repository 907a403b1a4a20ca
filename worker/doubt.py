"""Doubt about a slot, in memory that a worker's main process and its pool child share.

The pool child has it when an attempt is lost, and waits until the main process has heard: no other
job is taken before the slot has proven itself again.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable

HEARD_WITHIN_S = 5.0
"""The main process looks once a second."""
_RAISED, _LOSSES, _OWED = 0, 1, 8
"""Where each lies."""
_LOOK_EVERY_S = 0.02


class Doubt:
    """Made before the fork. ``losses`` counts what was lost in a row: attempts, slot processes.

    ``memory_before``: bytes that the GPU had in use before an attempt that has not given all of its
    memory back; None if there is no such one.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 16)

    @property
    def losses(self) -> int:
        return self._shared[_LOSSES]

    @property
    def memory_before(self) -> int | None:
        owed: int = struct.unpack_from("q", self._shared, _OWED)[0]
        return owed - 1 if owed else None

    @memory_before.setter
    def memory_before(self, used_bytes: int | None) -> None:
        struct.pack_into("q", self._shared, _OWED, 0 if used_bytes is None else used_bytes + 1)
        if used_bytes is not None:
            self._shared[_RAISED] = 1

    def lost(self) -> None:
        """One more in a row, and the slot is to prove itself. In any of the two processes."""
        self._shared[_LOSSES] = min(self.losses + 1, 255)
        self._shared[_RAISED] = 1

    def arise(self) -> None:
        """The slot is to prove itself; nothing is counted."""
        self._shared[_RAISED] = 1

    def trusted(self) -> None:
        """An attempt has ended as attempts should: there is no row any more."""
        self._shared[_LOSSES] = 0

    def wait_until_heard(self, give_up: Callable[[], bool]) -> None:
        """In the pool child, after a doubt and before its task is over."""
        deadline = time.monotonic() + HEARD_WITHIN_S
        while self._shared[_RAISED] and time.monotonic() < deadline and not give_up():
            time.sleep(_LOOK_EVERY_S)

    def take(self) -> bool:
        """In the main process: whether there is a doubt that it has not heard of."""
        raised = bool(self._shared[_RAISED])
        self._shared[_RAISED] = 0
        return raised
