"""Fork socket: over it a training asks its keeper for fresh processes, and may write anything."""

from __future__ import annotations

import os
import socket

from worker.slot_process.message_socket import MessageSocket
from worker.slot_process.protocol import Fork, ProtocolError
from worker.slot_process.stderr_lines import say


class ForkSocket:
    """The keeper's end. What is no question closes it, and harms nothing else."""

    def __init__(self, connection: socket.socket) -> None:
        self._messages = MessageSocket(connection)

    def fds(self) -> list[int]:
        """What to select on; nothing once it is closed."""
        return [] if self._messages.fileno() < 0 else [self._messages.fileno()]

    def connections(self) -> list[int]:
        """Descriptors over which fresh processes are to answer: the caller's to close."""
        messages = self._messages
        try:
            asked = [isinstance(message, Fork) for message in messages.read()]
        except ProtocolError:
            asked = [False]
        found = messages.take_fds()
        if asked != [True] * len(found):
            say("keeper: the training sent what is no question: it gets no more processes")
            for descriptor in found:
                os.close(descriptor)
            found, messages.lost = [], True
        if messages.lost:
            self.close()
        return found

    def close(self) -> None:
        """Close it, which the training sees as end-of-file."""
        self._messages.close()
