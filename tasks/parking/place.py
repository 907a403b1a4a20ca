"""Parking: a paused training that waits in its process, off the GPU, to be woken by its keeper.

The keeper makes a socket pair before it forks the training and names the training's end in the
variable ``TRAINYARD_PARKING_FD``. To wake the training it sends one JSON line,
``{"op": "resume", "attempt_id": "job:2"}``, with two descriptors: where the output goes from now
on, and the event channel of the new attempt. The training never writes to this socket.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys

from tasks.channel import SocketChannel
from tasks.parking.loader_output import LoaderOutput
from trainyard.contract.events import Outcome, TrainingSpec

FD_VARIABLE = "TRAINYARD_PARKING_FD"
_LINE_BYTES_MAX = 4096


class ParkingPlace:
    """This process's end of the parking socket; ``channel`` goes on under the attempt after."""

    def __init__(self, descriptor: int, channel: SocketChannel) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._channel = channel
        self._loader_output: LoaderOutput | None = None

    @classmethod
    def from_environment(cls, channel: SocketChannel) -> ParkingPlace | None:
        """The place that the keeper made; None if it made none."""
        value = os.environ.pop(FD_VARIABLE, None)
        return None if value is None else cls(int(value), channel)

    def keep_loader_output(self) -> None:
        """What loader workers print goes where this process's output goes, now and when woken."""
        self._loader_output = self._loader_output or LoaderOutput()

    def park(self, outcome: Outcome) -> TrainingSpec:
        """End the attempt with ``outcome`` and wait; returns the spec of the one that goes on.

        What loader workers have printed is passed on first; what they print meanwhile waits.
        """
        with self._loader_output.held() if self._loader_output else contextlib.nullcontext():
            # Whoever hears of it stops to read what is printed here.
            self._channel.send(outcome)
            self._channel.close()
            self._channel.reopen(self._wait())
        spec = self._channel.receive_spec()
        self._channel.start()
        return spec

    def _wait(self) -> int:
        """Wait until the keeper wakes this process; its output then goes where the keeper says.

        Returns the descriptor of the new event channel. Meanwhile what is printed goes nowhere,
        since nobody reads the old output any more. Ends the process at once if the keeper closes
        the socket: it is not wanted any more.
        """
        null = os.open(os.devnull, os.O_WRONLY)
        _redirect_output(null)
        line, descriptors = b"", list[int]()
        while not line.endswith(b"\n"):
            data, received, _, _ = socket.recv_fds(self._socket, _LINE_BYTES_MAX, 2)
            if not data:
                # Not sys.exit: nothing is to be written, said or waited for any more.
                os._exit(0)
            line += data
            descriptors += received
        output, events = descriptors
        _redirect_output(output)
        return events

    def close(self) -> None:
        """Close this end, when the last words of loader workers have been passed on."""
        if self._loader_output is not None:
            self._loader_output.close()
        self._socket.close()


def _redirect_output(descriptor: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
