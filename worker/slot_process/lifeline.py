"""The keeper's end of the supervisor's connection, and the supervisor's lease."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from worker.machine.unix_socket import LineReader, check_peer, encode_line


class Lifeline:
    """Tells when the supervisor is gone: its connection closes, or its process ends.

    Both, since the supervisor may have forked children of its own, which hold the connection open
    after its death. ``lost`` says so. ``lease_ends`` is the ``time.monotonic()`` until which the
    supervisor has vouched for the attempt; None: without end.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._reader = LineReader()
        self._supervisor_fd = _pidfd_or_none(check_peer(connection).pid)
        self.lost = self._supervisor_fd is None
        self.lease_ends: float | None = None

    def fds(self) -> list[int]:
        """The descriptors to select on; :meth:`read` when one of them is readable."""
        return [fd for fd in (self._connection.fileno(), self._supervisor_fd) if fd is not None]

    def read(self, ready: set[int]) -> list[dict[str, Any]]:
        """Messages that have come; ``ready`` are the descriptors that are readable."""
        if self._supervisor_fd in ready:
            self.lost = True
        if self._connection.fileno() not in ready:
            return []
        try:
            data = self._connection.recv(4096)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            data = b""
        if not data:
            self.lost = True
        return self._reader.feed(data)

    def renew(self, lease_s: float | None) -> None:
        """Move the end of the lease to ``lease_s`` from now; None: it has no end."""
        self.lease_ends = None if lease_s is None else time.monotonic() + lease_s

    def expired(self) -> bool:
        """Whether the lease has ended."""
        return self.lease_ends is not None and time.monotonic() >= self.lease_ends

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. Where the supervisor is gone nobody has to be told: ``lost``."""
        try:
            self._connection.sendall(encode_line(message))
        except (BrokenPipeError, ConnectionResetError):
            self.lost = True

    def close(self) -> None:
        """Close the connection, which the supervisor sees as end-of-file."""
        self._connection.close()
        if self._supervisor_fd is not None:
            os.close(self._supervisor_fd)
            self._supervisor_fd = None


def _pidfd_or_none(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
