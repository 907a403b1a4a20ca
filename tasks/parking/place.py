"""Parking: a paused training that waits in its process, off the GPU, to be woken by its keeper.

The keeper makes a socket pair before it forks the training and names the training's end in the
variable ``TRAINYARD_PARKING_FD``. To wake the training it sends one JSON line,
``{"op": "resume", "attempt_id": "job:2"}``, with the event channel of the new attempt. The training
never writes to this socket. Its output is the keeper's pipe, before and after.
"""

from __future__ import annotations

import os
import socket

from tasks.channel import SocketChannel
from trainyard.contract.events import Outcome, TrainingSpec

FD_VARIABLE = "TRAINYARD_PARKING_FD"
_LINE_BYTES_MAX = 4096


class ParkingPlace:
    """This process's end of the parking socket; ``channel`` goes on under the attempt after."""

    def __init__(self, descriptor: int, channel: SocketChannel) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._channel = channel

    @classmethod
    def from_environment(cls, channel: SocketChannel) -> ParkingPlace | None:
        """The place that the keeper made; None if it made none."""
        value = os.environ.pop(FD_VARIABLE, None)
        return None if value is None else cls(int(value), channel)

    def park(self, outcome: Outcome) -> TrainingSpec:
        """End the attempt with ``outcome`` and wait; returns the spec of the one that goes on.

        What is printed meanwhile is the next attempt's.
        """
        self._channel.send(outcome)
        self._channel.close()
        self._channel.reopen(self._wait())
        spec = self._channel.receive_spec()
        self._channel.start()
        return spec

    def _wait(self) -> int:
        """Wait until the keeper wakes this process; returns the new event channel's descriptor.

        Ends the process at once if the keeper closes the socket: it is not wanted any more.
        """
        line, descriptors = b"", list[int]()
        while not line.endswith(b"\n"):
            data, received, _, _ = socket.recv_fds(self._socket, _LINE_BYTES_MAX, 1)
            if not data:
                # Not sys.exit: nothing is to be written, said or waited for any more.
                os._exit(0)
            line += data
            descriptors += received
        [events] = descriptors
        return events

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
