"""Socket of the protocol: reads and writes whole messages, and the descriptors beside them."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from worker.machine.unix_socket import receive_fds
from worker.slot_process.protocol import AnyMessage, ProtocolError, decode, encode

_LINE_BYTES_MAX = 1 << 20
_FDS_MAX = 2


class MessageSocket:
    """One end of a connection; never waits.

    ``lost``: all has been read that will ever come. ``fds`` are the descriptors that have come and
    that nobody has taken yet.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.lost = False
        self.fds: list[int] = []
        self._rest = b""

    def fileno(self) -> int:
        """The descriptor to select on; negative after :meth:`close`."""
        return self.connection.fileno()

    def read(self) -> list[AnyMessage]:
        """Messages that are complete by now. Raises ProtocolError."""
        try:
            data, fds = receive_fds(self.connection, _FDS_MAX)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            data, fds = b"", []
        self.fds += fds
        if not data:
            self.lost = True
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE_BYTES_MAX:
            raise ProtocolError("too long")
        return [decode(line) for line in lines]

    def take_fds(self) -> list[int]:
        """The descriptors that have come: the caller's to close."""
        taken, self.fds = self.fds, []
        return taken

    def send(self, message: AnyMessage, fds: Sequence[int] = ()) -> bool:
        """Send one message; False if the other end is closed. What it sent before can be read.

        Raises BlockingIOError if the other end has not read for long.
        """
        try:
            if fds:
                socket.send_fds(self.connection, [encode(message)], fds)
            else:
                self.connection.sendall(encode(message))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def close(self) -> None:
        """Close this end, which the other one sees as end-of-file."""
        self.connection.close()
