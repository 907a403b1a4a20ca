"""Parking: a paused training stays in its process, and goes on for another supervisor.

Three sockets meet here, each with JSON lines:

    lifeline         supervisor → keeper   {"park": seconds}, answered by {"parked": true}
    control socket   keeper → slot process {"parked": true}, {"resumed": true}
                     slot process → keeper {"resume": true, "attempt_id": s}
                                           + 3 descriptors [lifeline, output, events]
    parking socket   keeper → training     {"resume": true, "attempt_id": s}
                                           + 2 descriptors [output, events]

The slot process keeps its copies of the three until the keeper has said ``resumed``: where the
keeper ends instead, the attempt starts cold with them.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from worker.machine import memory
from worker.machine.unix_socket import LineReader, encode_line, receive_fds

_MEMORY_CHECK_S = 1.0
_MAX_FDS = 3


@dataclass(frozen=True)
class Resume:
    """A new attempt for a parked training, with the descriptors of its supervisor."""

    attempt_id: str
    lifeline: socket.socket
    output_fd: int
    events_fd: int

    def close_training_fds(self) -> None:
        """Close what the training has copies of."""
        os.close(self.output_fd)
        os.close(self.events_fd)


class ParkedTime:
    """How long a training may stay parked: at most ``seconds``, and while there is memory."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._next_check = time.monotonic()

    def reason_to_end(self) -> str | None:
        """Why the time is over, in words for a log; None where it is not."""
        now = time.monotonic()
        if now >= self._ends:
            return f"parked for {self._seconds:g} s"
        if now >= self._next_check:
            self._next_check = now + _MEMORY_CHECK_S
            return memory.shortage()
        return None

    def left_s(self) -> float:
        """Seconds until :meth:`reason_to_end` is to be asked again."""
        return max(0.0, min(self._ends, self._next_check) - time.monotonic())


class ControlSocket:
    """The keeper's end of its connection to the slot process. ``lost``: the other end is closed."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._reader = LineReader()
        self._fds: list[int] = []
        self.lost = False

    def fileno(self) -> int:
        """The descriptor that becomes readable when the slot process has sent something."""
        return self._connection.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        try:
            self._connection.sendall(encode_line(message))
        except (BrokenPipeError, ConnectionResetError):
            self.lost = True

    def read(self) -> Resume | None:
        """What the slot process asks, once it has come completely. Raises ValueError."""
        try:
            data, fds = receive_fds(self._connection, _MAX_FDS)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            data, fds = b"", []
        self._fds.extend(fds)
        if not data:
            self.lost = True
        for message in self._reader.feed(data):
            match message:
                case {"resume": True, "attempt_id": str(attempt_id)}:
                    (lifeline_fd, output_fd, events_fd), self._fds = self._fds, []
                    return Resume(
                        attempt_id, socket.socket(fileno=lifeline_fd), output_fd, events_fd
                    )
                case _:
                    raise ValueError(f"the slot process sent {str(message)[:200]!r}")
        return None

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class ParkingSocket:
    """The keeper's end of the socket on which a parked training waits. End-of-file ends it."""

    def __init__(self) -> None:
        self._connection, self.training_end = socket.socketpair()

    def hand_over(self, resume: Resume) -> None:
        """Let the training go on with new descriptors. Raises OSError where it is gone."""
        line = encode_line({"resume": True, "attempt_id": resume.attempt_id})
        socket.send_fds(self._connection, [line], [resume.output_fd, resume.events_fd])

    def close(self) -> None:
        """Close the keeper's end."""
        self._connection.close()
