"""Lifeline of an attempt, at the keeper's end: the supervisor's connection, and its lease."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from worker.machine.unix_socket import check_peer
from worker.slot_process.message_socket import MessageSocket
from worker.slot_process.protocol import AnyMessage, FromKeeper

_LATE_S = 1.0
"""A keeper sleeps until the lease's end at the most: one that sees it so much later was frozen."""
_AWAKE_AGAIN_S = 5.0
"""After a freeze of everything the supervisor has so long to vouch again; its training stood still
meanwhile, so no other attempt has lost anything by it."""


class Lifeline:
    """Tells when the supervisor is gone: its connection closes, or its process ends.

    Both, since the supervisor may have forked children of its own, which hold the connection open
    after its death. ``lost`` says so. ``lease_ends`` is the ``time.monotonic()`` until which the
    supervisor has vouched for the attempt; None: without end.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = MessageSocket(connection)
        self._supervisor_fd = _pidfd_or_none(check_peer(connection).pid)
        self._supervisor_died = self._supervisor_fd is None
        self.lease_ends: float | None = None

    @property
    def lost(self) -> bool:
        return self._supervisor_died or self._socket.lost

    def fds(self) -> list[int]:
        """The descriptors to select on; :meth:`read` when one of them is readable."""
        return [fd for fd in (self._socket.fileno(), self._supervisor_fd) if fd is not None]

    def read(self, ready: set[int]) -> list[AnyMessage]:
        """Messages that have come; ``ready`` are the descriptors that are readable."""
        if self._supervisor_fd in ready:
            self._supervisor_died = True
        return self._socket.read() if self._socket.fileno() in ready else []

    def renew(self, lease_s: float | None) -> None:
        """Move the end of the lease to ``lease_s`` from now; None: it has no end."""
        self.lease_ends = None if lease_s is None else time.monotonic() + lease_s

    def expired(self) -> bool:
        """Whether the lease has ended while we were there to see it."""
        now = time.monotonic()
        if self.lease_ends is None or now < self.lease_ends:
            return False
        if now - self.lease_ends > _LATE_S:
            self.lease_ends = now + _AWAKE_AGAIN_S
            return False
        return True

    def send(self, message: FromKeeper, fds: Sequence[int] = ()) -> None:
        """Send one message; if the supervisor is gone nobody has to be told."""
        self._socket.send(message, fds)

    def close(self) -> None:
        """Close the connection, which the supervisor sees as end-of-file."""
        self._socket.close()
        if self._supervisor_fd is not None:
            os.close(self._supervisor_fd)
            self._supervisor_fd = None


def _pidfd_or_none(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
