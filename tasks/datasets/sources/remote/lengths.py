"""Notices a body that goes on after the length that its headers state.

HTTP ends the body there, so the file would be cut, and where a row ends just there no reader could
tell. The server is asked to close the connection after its answer: whatever comes before that is
more than it stated.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from typing import Any

from trainyard.contract.error_tree import Interruption

SECONDS_FOR_THE_CLOSE = 0.5
"""What a server may take to close the connection; one that keeps it open is taken at its word."""


HEAD_S = 60.0
"""What a server may take for the head of an answer, from its first byte to its last."""


class MoreThanStated(Interruption):
    """A server sent more than the length that it stated."""


class ExactResponse(http.client.HTTPResponse):
    """Raises MoreThanStated at the end of a body of a stated length that is not its end."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._connected = sock
        self._hung_up = False

    def begin(self) -> None:
        # A time-out of the socket begins anew with each byte.
        timer = threading.Timer(HEAD_S, self._hang_up)
        timer.daemon = True
        timer.start()
        try:
            super().begin()
        finally:
            timer.cancel()
        if self._hung_up:  # what came until then looks like a whole head
            raise TimeoutError("the head of the answer did not come in time")
        self.will_close = True  # as was asked for, whether the server says so or not

    def _hang_up(self) -> None:
        self._hung_up = True
        with contextlib.suppress(OSError):  # it has gone by itself
            self._connected.shutdown(socket.SHUT_RDWR)

    def _close_conn(self) -> None:
        try:
            if self.length == 0 and self.status in (200, 206) and self._goes_on():
                raise MoreThanStated
        finally:
            super()._close_conn()  # type: ignore[misc]  # http.client's own, not in its stubs

    def _goes_on(self) -> bool:
        try:
            self._connected.settimeout(SECONDS_FOR_THE_CLOSE)
            return bool(self.fp.read1(1))
        except OSError:  # nothing more has come, which is all that is asked
            return False
