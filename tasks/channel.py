"""The training's line to its supervisor: events out, commands in, JSON lines on one socket.

The training's step path never waits here: :meth:`Channel.send` puts an event in a queue that a
thread writes out, and a second thread turns commands into :class:`threading.Event` flags.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
from typing import BinaryIO

from pydantic import ValidationError

from backend_bridge.contract import Command, Event, TrainingSpec
from tasks.errors import Stopped

CLOSE_TIMEOUT_S = 10.0

logger = logging.getLogger(__name__)


class Channel:
    """One attempt's connection to its supervisor.

    Use in this order: :meth:`receive_spec`, :meth:`start`, any number of :meth:`send`,
    :meth:`close`. ``cancel_requested`` and ``pause_requested`` are set by the supervisor's
    commands.
    """

    def __init__(self, events_fd: int) -> None:
        self._socket = socket.socket(fileno=events_fd)
        self._socket.set_inheritable(False)
        self._socket.setblocking(True)
        self._incoming: BinaryIO = self._socket.makefile("rb")
        self._outgoing: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="events-out", daemon=True)
        self._reader = threading.Thread(target=self._read, name="commands-in", daemon=True)
        self.cancel_requested = threading.Event()
        self.pause_requested = threading.Event()

    def receive_spec(self) -> TrainingSpec:
        """Wait for the first line. Raises EOFError where the supervisor is gone before it."""
        line = self._incoming.readline()
        if not line:
            raise EOFError("the supervisor closed the channel before it sent the training's spec")
        return TrainingSpec.model_validate_json(line)

    def start(self) -> None:
        """Start the two threads; call after any fork that the process makes of itself."""
        self._writer.start()
        self._reader.start()

    def send(self, event: Event) -> None:
        """Queue ``event`` for the supervisor and return at once."""
        self._outgoing.put(event)

    def raise_if_cancelled(self) -> None:
        """Raise Stopped where a cancel was asked for: for use between the phases."""
        if self.cancel_requested.is_set():
            raise Stopped

    def close(self) -> None:
        """Write out what is queued, then close the socket and end both threads."""
        if self._writer.is_alive():
            self._outgoing.put(None)
            self._writer.join(CLOSE_TIMEOUT_S)
        with contextlib.suppress(OSError):  # the supervisor may have closed its end first
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._reader.is_alive():
            self._reader.join(CLOSE_TIMEOUT_S)
        self._incoming.close()
        self._socket.close()

    def _write(self) -> None:
        while (event := self._outgoing.get()) is not None:
            line = event.model_dump_json(exclude_none=True).encode() + b"\n"
            try:
                self._socket.sendall(line)
            except OSError:
                # The supervisor is gone and the keeper ends this process; nobody is left to tell.
                return

    def _read(self) -> None:
        try:
            for line in self._incoming:
                self._obey(line)
        except OSError:
            return

    def _obey(self, line: bytes) -> None:
        try:
            command = Command.model_validate_json(line)
        except ValidationError:
            logger.warning("A line from the supervisor is no command: %.200r", line)
            return
        flag = self.cancel_requested if command.command == "cancel" else self.pause_requested
        flag.set()
