"""Channel between the training and its supervisor: events out, commands in.

:class:`Channel` is what the training knows of it. :class:`SocketChannel` speaks JSON lines over one
socket, and the step path never waits there: :meth:`SocketChannel.send` puts an event in a queue
that a thread writes out, and a second thread turns commands into flags. What several processes of
one training share is ``tasks.ranks.channel``.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
from abc import ABC, abstractmethod
from typing import BinaryIO

from pydantic import ValidationError

from tasks import sealed_secrets
from tasks.errors import Paused, Stopped
from trainyard.contract.events import Command, Event, Held, TrainingSpec

CLOSE_TIMEOUT_S = 10.0

logger = logging.getLogger(__name__)


class Channel(ABC):
    """The supervisor as the training knows it.

    ``cancel_requested``, ``pause_requested`` and ``hold_requested`` are set by its commands.
    """

    def __init__(self) -> None:
        self.cancel_requested = threading.Event()
        self.pause_requested = threading.Event()
        self.hold_requested = threading.Event()

    @abstractmethod
    def agree(self) -> None:
        """At the same points of every rank: what is asked for now counts until the next one."""

    @abstractmethod
    def send(self, event: Event) -> None:
        """Queue ``event`` for the supervisor and return at once."""

    def send_now(self, event: Event) -> None:
        """As :meth:`send`, and the supervisor has it when this returns: if a crash may follow."""
        self.send(event)

    @abstractmethod
    def stand_still_if_held(self, step: int) -> bool:
        """If a hold was asked for, say so and wait for ``continue``, a pause or a cancel.

        Returns whether that was so. Raises Stopped at a cancel, and if the supervisor is gone.
        """

    @abstractmethod
    def finish(self) -> None:
        """Write out what is queued; nothing is sent any more."""

    def raise_if_cancelled(self) -> None:
        """Raise Stopped if a cancel was asked for: for use between the phases."""
        if self.cancel_requested.is_set():
            raise Stopped

    def raise_if_asked_to_stop(self) -> None:
        """Raise Stopped at a cancel, Paused at a pause: for use while there is no step to save."""
        self.raise_if_cancelled()
        if self.pause_requested.is_set():
            raise Paused


class SocketChannel(Channel):
    """One attempt's connection to its supervisor.

    Use in this order: :meth:`receive_spec`, :meth:`start`, any number of :meth:`send`,
    :meth:`close`; a parked training goes on under another attempt with :meth:`reopen`, and the
    order begins again.
    """

    def __init__(self, events_fd: int) -> None:
        super().__init__()
        self._commanded = threading.Condition()
        self._saying = threading.Lock()
        self.reopen(events_fd)

    def reopen(self, events_fd: int) -> None:
        """Go on over another socket, after :meth:`close`: nothing is requested there yet."""
        for flag in (self.cancel_requested, self.pause_requested, self.hold_requested):
            flag.clear()
        self._socket = socket.socket(fileno=events_fd)
        self._socket.set_inheritable(False)
        self._socket.setblocking(True)
        self._incoming: BinaryIO = self._socket.makefile("rb")
        self._outgoing: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._reader: threading.Thread | None = None
        self._supervisor_gone = False

    def receive_spec(self) -> TrainingSpec:
        """Wait for the first line. Raises EOFError if the supervisor is gone before it.

        The worker's secrets come beside it, sealed.
        """
        first, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        if not first:
            raise EOFError("the supervisor closed the channel before it sent the training's spec")
        for descriptor in descriptors:
            sealed_secrets.keep(descriptor)
        return TrainingSpec.model_validate_json(first + self._incoming.readline())

    def start(self) -> None:
        """Start the two threads if they do not run yet.

        Call after any fork that the process makes of itself. They are made here: Python calls each
        that was made before a fork dead in the child, so that nobody would wait for it.
        """
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="events-out", daemon=True)
            self._reader = threading.Thread(target=self._read, name="commands-in", daemon=True)
            self._writer.start()
            self._reader.start()

    def agree(self) -> None:
        """Nothing: a training of one process has nobody to agree with."""

    def send(self, event: Event) -> None:
        self._outgoing.put(event)

    def send_now(self, event: Event) -> None:
        self._say(event)

    def stand_still_if_held(self, step: int) -> bool:
        if not self.hold_requested.is_set():
            return False
        logger.info("Held at step %d: nothing is written until it may go on", step)
        self.send(Held(step=step))
        with self._commanded:
            self._commanded.wait_for(self._may_move)
        if self._supervisor_gone and self.hold_requested.is_set():
            raise Stopped
        self.raise_if_cancelled()
        logger.info("Going on after step %d", step)
        return True

    def _may_move(self) -> bool:
        return self._supervisor_gone or not self.hold_requested.is_set()

    def finish(self) -> None:
        """Write out what is queued, and end the thread that does it."""
        if self._writer is not None:
            self._outgoing.put(None)
            self._writer.join(CLOSE_TIMEOUT_S)

    def forget(self) -> None:
        """Close this process's copy of a channel that another process speaks over."""
        self._incoming.close()
        self._socket.close()

    def close(self) -> None:
        """Write out what is queued, then close the socket and end both threads."""
        self.finish()
        with contextlib.suppress(OSError):  # the supervisor may have closed its end first
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._reader is not None:
            self._reader.join(CLOSE_TIMEOUT_S)
        self._incoming.close()
        self._socket.close()

    def _write(self) -> None:
        while (event := self._outgoing.get()) is not None:
            if not self._say(event):
                return

    def _say(self, event: Event) -> bool:
        line = event.model_dump_json(exclude_none=True).encode() + b"\n"
        try:
            with self._saying:
                self._socket.sendall(line)
        except OSError:
            # The supervisor is gone and the keeper ends this process; nobody is left to tell.
            return False
        return True

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            for line in self._incoming:
                self._obey(line)
        with self._commanded:
            self._supervisor_gone = True
            self._commanded.notify_all()

    def _obey(self, line: bytes) -> None:
        try:
            command = Command.model_validate_json(line).command
        except ValidationError:
            logger.warning("A line from the supervisor is no command: %.200r", line)
            return
        with self._commanded:
            if command == "hold":
                self.hold_requested.set()
            else:
                # A cancel and a pause end a hold too.
                self.hold_requested.clear()
            if command == "cancel":
                self.cancel_requested.set()
            elif command == "pause":
                self.pause_requested.set()
            self._commanded.notify_all()
