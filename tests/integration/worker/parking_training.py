"""A small training that parks, as ``tasks.runner`` does, and obeys words on its event channel."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

FLOOD_BYTES = 1 << 22
"""More than a pipe holds."""


class Channel:
    """The event channel, which is another one after each resume."""

    def __init__(self, events_fd: int) -> None:
        self._socket = socket.socket(fileno=events_fd)
        self._lines = self._socket.makefile("r")

    def receive(self) -> str:
        return self._lines.readline().strip()

    def send(self, text: str) -> None:
        self._socket.sendall(f"{text}\n".encode())

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def main(events_fd: int) -> int:
    """Entry point, as ``tasks.runner:main`` is."""
    parking = socket.socket(fileno=int(os.environ.pop("TRAINYARD_PARKING_FD")))
    channel = Channel(events_fd)
    remembered: list[str] = []
    while True:
        word, _, argument = channel.receive().partition(" ")
        if word == "remember":
            remembered.append(argument)
        elif word == "tell":
            print(" ".join(remembered), flush=True)
            channel.send(" ".join(remembered))
        elif word == "family":
            channel.send(" ".join(map(str, _start_family())))
        elif word == "echo":
            _start_child(lambda path=Path(argument): _echo(path))
        elif word == "flood":
            _start_child(lambda: print("x" * FLOOD_BYTES, "flooded", sep="\n", flush=True))
        elif word == "exit":
            return int(argument)
        elif word in ("park", "park_and_die"):
            channel.send("paused")
            channel.close()
            if word == "park_and_die":
                time.sleep(float(argument))
                return 3
            channel = _wait_parked(parking)


def _wait_parked(parking: socket.socket) -> Channel:
    line, fds, _, _ = socket.recv_fds(parking, 4096, 1)
    if not line:
        os._exit(0)
    channel = Channel(*fds)
    channel.send(f"resumed as {json.loads(line)['attempt_id']}")
    return channel


def _start_child(work: Callable[[], None]) -> None:
    if os.fork() == 0:
        work()
        os._exit(0)


def _echo(path: Path) -> None:
    with path.open() as words:
        for word in words:
            print(word, end="", flush=True)


def _start_family() -> list[int]:
    """A loader-like child, and one in a session of its own; both ignore SIGTERM."""
    pids = []
    for own_session in (False, True):
        read_fd, write_fd = os.pipe()
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if own_session:
                os.setsid()
            os.write(write_fd, b"x")
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(120)
            os._exit(0)
        os.read(read_fd, 1)
        os.close(read_fd)
        os.close(write_fd)
        pids.append(pid)
    return pids


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
