"""How the supervisor and the worker's main process speak to the slot process.

SlotUnavailable (TrainyardError)     the slot process cannot be reached
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from trainyard.contract.error_tree import TrainyardError
from worker.machine.unix_socket import LineReader, connect, encode_line
from worker.slot_process.protocol import (
    Gone,
    KeeperLost,
    Message,
    Parked,
    Refused,
    Started,
    StillAlive,
    parse_message,
)

__all__ = [
    "Gone",
    "KeeperHandle",
    "KeeperLost",
    "Message",
    "Parked",
    "Refused",
    "SlotUnavailable",
    "Started",
    "StillAlive",
    "parked_attempts",
    "release_parked",
    "start_attempt",
    "wait_gone",
]

_RETRY_S = 0.05


class SlotUnavailable(TrainyardError):
    """The slot process cannot be reached."""


class KeeperHandle:
    """The supervisor's end of the lifeline. Closing it ends the attempt and all its processes,
    unless it is parked.

    A context manager. ``fileno()`` becomes readable when :meth:`read_messages` has something.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._reader = LineReader()
        self._concluded = False
        self._at_eof = False

    def fileno(self) -> int:
        """The descriptor to select on. Raises ValueError after :meth:`close`."""
        fd = self._connection.fileno()
        if fd < 0:
            raise ValueError("the lifeline is closed")
        return fd

    @property
    def ended(self) -> bool:
        """Whether the last message has been read (see :meth:`read_messages`)."""
        return self._concluded

    def read_messages(self) -> list[Message]:
        """What has arrived since the last call; does not wait.

        The last one of an attempt is Gone, Parked, Refused or KeeperLost, and comes exactly once.
        """
        messages: list[Message] = []
        while not self._at_eof and (data := self._receive()) is not None:
            messages.extend(map(parse_message, self._reader.feed(data)))
        if any(isinstance(message, Gone | Parked | Refused) for message in messages):
            self._concluded = True
        if self._at_eof and not self._concluded:
            self._concluded = True
            messages.append(KeeperLost())
        return messages

    def _receive(self) -> bytes | None:
        """Bytes, or None where there are none now or never again."""
        try:
            data = self._connection.recv(65536)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            data = b""
        self._at_eof = not data
        return data or None

    def terminate(self) -> None:
        """Pass SIGTERM to the training process. Nothing happens where the attempt has ended."""
        self._send({"signal": "TERM"})

    def kill(self) -> None:
        """SIGKILL the training and every descendant; ``Gone`` follows. Does not wait."""
        try:
            self._send({"signal": "KILL"})
        except BlockingIOError:
            # A keeper that has not read for long takes end-of-file for the same.
            self._connection.shutdown(socket.SHUT_WR)

    def set_lease(self, lease_s: float | None) -> None:
        """Have everything killed where this is not called again within ``lease_s``; None: never.

        ``Gone.lease_expired`` says that it happened. Before the first call there is no deadline.
        """
        # Full: the keeper does not read, and the lines that are there tell it no less.
        with contextlib.suppress(BlockingIOError):
            self._send({"lease_s": lease_s})

    def park(self, seconds: float) -> None:
        """Have a training that waits in its callback stay for ``seconds``; ``Parked`` follows."""
        self._send({"park": seconds})

    def _send(self, message: dict[str, Any]) -> None:
        # A keeper that has ended says so through read_messages, not here.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.sendall(encode_line(message))

    def close(self) -> None:
        """Let go of the lifeline: whatever still lives of the attempt is killed."""
        self._connection.close()

    def __enter__(self) -> KeeperHandle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def start_attempt(
    socket_name: str,
    attempt_id: str,
    env: Mapping[str, str],
    output_fd: int,
    events_fd: int,
    *,
    timeout_s: float,
    preload: bool = True,
    parked: str | None = None,
) -> KeeperHandle:
    """Ask the slot process for an attempt; returns as soon as it has been asked.

    ``Started`` follows within some 50 ms, or when the slot process has finished its imports.
    ``output_fd`` becomes the training's stdout and stderr, ``events_fd`` its event channel; both
    stay the caller's, who must close them for their other ends to see the training's end.
    ``env`` is set in the training process alone. Where the attempt ``parked`` is parked at this
    slot the new one goes on in its process (``Started.warm``), else it starts cold.
    Raises SlotUnavailable where nobody listens within ``timeout_s``.
    """
    request = {
        "op": "start",
        "attempt_id": attempt_id,
        "env": dict(env),
        "preload": preload,
        "parked": parked,
    }
    deadline = time.monotonic() + timeout_s
    connection = _connect(socket_name, deadline)
    try:
        connection.settimeout(_left_s(deadline))
        line = encode_line(request)
        sent = socket.send_fds(connection, [line], [output_fd, events_fd])
        if sent < len(line):
            connection.sendall(line[sent:])
    except OSError as error:
        connection.close()
        raise SlotUnavailable(f"the slot process went away: {error}") from error
    return KeeperHandle(connection)


def wait_gone(socket_name: str, attempt_id: str, timeout_s: float) -> bool:
    """Whether no process of the attempt is left, after waiting up to ``timeout_s`` for that.

    Also True for an attempt that the slot process has never heard of. Raises SlotUnavailable.
    """
    request = {"op": "wait_gone", "attempt_id": attempt_id, "timeout_s": timeout_s}
    return bool(_ask(socket_name, request, timeout_s)["gone"])


def release_parked(socket_name: str, attempt_id: str, timeout_s: float) -> bool:
    """End an attempt where it is parked; then as :func:`wait_gone`. Raises SlotUnavailable."""
    request = {"op": "release", "attempt_id": attempt_id, "timeout_s": timeout_s}
    return bool(_ask(socket_name, request, timeout_s)["gone"])


def parked_attempts(socket_name: str, timeout_s: float) -> list[str]:
    """The attempts that are parked at this slot. Raises SlotUnavailable."""
    return list(_ask(socket_name, {"op": "parked"}, timeout_s)["parked"])


def _ask(socket_name: str, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    try:
        with _connect(socket_name, deadline) as connection:
            connection.sendall(encode_line(request))
            # The answer comes at the deadline at the latest; the rest is for the way.
            connection.settimeout(_left_s(deadline) + 1.0)
            with connection.makefile("rb") as answers:
                line = answers.readline()
    except OSError as error:
        raise SlotUnavailable(f"the slot process did not answer: {error}") from error
    if not line.endswith(b"\n"):
        raise SlotUnavailable("the slot process went away")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _left_s(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)


def _connect(socket_name: str, deadline: float) -> socket.socket:
    """Connect, trying again until ``deadline``: a slot process may be starting. SlotUnavailable."""
    while True:
        try:
            return connect(socket_name, _left_s(deadline))
        except (ConnectionRefusedError, BlockingIOError) as error:
            if time.monotonic() + _RETRY_S > deadline:
                raise SlotUnavailable(f"no slot process listens at {socket_name}") from error
        except OSError as error:
            raise SlotUnavailable(f"the slot process cannot be reached: {error}") from error
        time.sleep(_RETRY_S)
