"""How the supervisor and the worker's main process speak to the slot process.

SlotUnavailable (RuntimeError)     the slot process cannot be reached
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from worker.unix_socket import LineReader, connect, encode_line

_RETRY_S = 0.05


class SlotUnavailable(RuntimeError):
    """The slot process cannot be reached."""


@dataclass(frozen=True)
class Started:
    """The training process runs. ``at`` is ``time.monotonic()`` of the host.

    ``preloaded`` is False where it is a fresh interpreter.
    """

    pid: int
    at: float
    preloaded: bool


@dataclass(frozen=True)
class Gone:
    """No process of the attempt is left.

    Exactly one of ``exit_code`` and ``signal`` is set where the training had started; ``error``
    says why it had not. ``killed_descendants`` counts processes, the training itself not among
    them, that were alive when the attempt ended.
    """

    exit_code: int | None
    signal: int | None
    killed_descendants: int
    error: str | None = None


@dataclass(frozen=True)
class StillAlive:
    """Processes were killed seconds ago and are not dead (uninterruptible sleep).

    ``Gone`` follows when they are.
    """

    pids: tuple[int, ...]


@dataclass(frozen=True)
class Refused:
    """The slot process did not start the attempt; nothing of it runs."""

    reason: str


@dataclass(frozen=True)
class KeeperLost:
    """The connection ended without ``Gone``: ask :func:`wait_gone` whether all is gone."""


Message = Started | Gone | StillAlive | Refused | KeeperLost


def _message(raw: dict[str, Any]) -> Message:
    match raw:
        case {"started": pid, "at": at, "preloaded": preloaded}:
            return Started(pid, at, preloaded)
        case {"gone": True, "exit_code": code, "signal": signum, "killed_descendants": killed}:
            return Gone(code, signum, killed, raw.get("error"))
        case {"gone": False, "left": pids}:
            return StillAlive(tuple(pids))
        case {"refused": reason}:
            return Refused(reason)
    raise ValueError(f"the keeper sent {str(raw)[:200]!r}")


class KeeperHandle:
    """The supervisor's end of the lifeline. Closing it ends the attempt and all its processes.

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
        """Whether Gone, Refused or KeeperLost has been read: no other message will follow."""
        return self._concluded

    def read_messages(self) -> list[Message]:
        """What has arrived since the last call; does not wait.

        The last one of an attempt is Gone, Refused or KeeperLost, and comes exactly once.
        """
        messages: list[Message] = []
        while not self._at_eof and (data := self._receive()) is not None:
            messages.extend(map(_message, self._reader.feed(data)))
        if any(isinstance(message, Gone | Refused) for message in messages):
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
        self._send({"signal": "KILL"})

    def _send(self, message: dict[str, str]) -> None:
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
) -> KeeperHandle:
    """Ask the slot process for an attempt; returns as soon as it has been asked.

    ``Started`` follows within some 50 ms, or when the slot process has finished its imports.
    ``output_fd`` becomes the training's stdout and stderr, ``events_fd`` its event channel; both
    stay the caller's, who must close them for their other ends to see the training's end.
    ``env`` is set in the training process alone. Raises SlotUnavailable where nobody listens
    within ``timeout_s``.
    """
    request = {"op": "start", "attempt_id": attempt_id, "env": dict(env), "preload": preload}
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
    deadline = time.monotonic() + timeout_s
    request = {"op": "wait_gone", "attempt_id": attempt_id, "timeout_s": timeout_s}
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
    return bool(json.loads(line)["gone"])


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
