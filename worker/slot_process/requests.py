"""Requests to the slot process: a connection each, read without waiting."""

from __future__ import annotations

import os
import socket
from types import TracebackType

from worker.slot_process.message_socket import MessageSocket
from worker.slot_process.protocol import (
    AnyRequest,
    ProtocolError,
    ReleaseParked,
    StartAttempt,
    StartRefused,
    WaitGone,
    WhetherGone,
)


class Request:
    """One connection on which a request is being read. Owns it, and the descriptors that come.

    ``lost``: who asked has gone away.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = MessageSocket(connection)

    @property
    def connection(self) -> socket.socket:
        """The socket itself, which becomes an attempt's lifeline."""
        return self._socket.connection

    @property
    def fds(self) -> list[int]:
        """The event channel, of a request to start an attempt."""
        return self._socket.fds

    @property
    def lost(self) -> bool:
        return self._socket.lost

    def fileno(self) -> int:
        """The descriptor to select on."""
        return self._socket.fileno()

    def read(self) -> AnyRequest | None:
        """Read what there is; None while the request is not complete. Raises ProtocolError."""
        # A line that brings descriptors is read by itself, so the lines that the supervisor
        # has sent to its keeper since are still in the socket.
        match self._socket.read():
            case []:
                return None
            case [StartAttempt() as start]:
                if len(self.fds) != 1:
                    raise ProtocolError(f"{len(self.fds)} descriptors instead of one")
                self._socket.lost = self._hung_up()
                return start
            case [WaitGone() | ReleaseParked() as request]:
                return request
            case _:
                raise ProtocolError("not one request")

    def _hung_up(self) -> bool:
        """Whether the supervisor has died since: its request waited in the backlog, maybe long."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def answer(self, message: WhetherGone | StartRefused) -> None:
        """Answer, and close."""
        with self:
            self._socket.send(message)

    def close(self) -> None:
        """Close the connection and the descriptors that came over it."""
        self._socket.close()
        for fd in self._socket.take_fds():
            os.close(fd)

    def __enter__(self) -> Request:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
