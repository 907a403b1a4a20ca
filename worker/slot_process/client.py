"""Client of the slot process, for the supervisor and the worker's main process.

SlotUnavailable (TrainyardError)     the slot process cannot be reached
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from trainyard.contract.error_tree import TrainyardError
from worker.machine.unix_socket import connect
from worker.slot_process.message_socket import MessageSocket
from worker.slot_process.protocol import (
    FromKeeper,
    Gone,
    Kill,
    Park,
    Parked,
    ProtocolError,
    ReleaseParked,
    SetLease,
    StartAttempt,
    Started,
    StartRefused,
    Terminate,
    ToKeeper,
    WaitGone,
    WhetherGone,
    decode,
    encode,
)

_RETRY_S = 0.05


class SlotUnavailable(TrainyardError):
    """The slot process cannot be reached."""


@dataclass(frozen=True)
class KeeperLost:
    """The connection ended without ``Gone``: ask :func:`wait_gone` whether all is gone."""


KeeperMessage = FromKeeper | KeeperLost
LastMessage = Gone | Parked | StartRefused | KeeperLost


class KeeperHandle:
    """The supervisor's end of the lifeline. Closing it ends the attempt and all its processes,
    unless it is parked.

    A context manager. ``fileno()`` becomes readable when :meth:`read_messages` has something.
    ``output``: where to read what the training and its children print; None before ``Started``.
    ``ended``: the last message has been read.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = MessageSocket(connection)
        self.output: int | None = None
        self.ended = False

    def fileno(self) -> int:
        """The descriptor to select on; negative after :meth:`close`."""
        return self._socket.fileno()

    def read_messages(self) -> list[KeeperMessage]:
        """What has arrived since the last call; does not wait.

        The last one of an attempt is a LastMessage, and comes exactly once. Raises ProtocolError.
        """
        messages: list[KeeperMessage] = []
        for message in self._socket.read():
            if not isinstance(message, FromKeeper):
                raise ProtocolError(f"a keeper sent {message.op}")
            if isinstance(message, Started):
                [self.output] = self._socket.take_fds()
            messages.append(message)
        if self._socket.lost and not self.ended:
            messages.append(KeeperLost())
        self.ended = self.ended or any(isinstance(message, LastMessage) for message in messages)
        return messages

    def terminate(self) -> None:
        """Pass SIGTERM to the training process. Nothing happens if the attempt has ended."""
        self._send(Terminate())

    def kill(self) -> None:
        """SIGKILL the training and every descendant; ``Gone`` follows. Does not wait."""
        try:
            self._send(Kill())
        except BlockingIOError:
            # A keeper that has not read for long takes end-of-file for the same.
            self._socket.connection.shutdown(socket.SHUT_WR)

    def set_lease(self, lease_s: float | None) -> None:
        """Have everything killed if this is not called again within ``lease_s``; None: never.

        ``Gone.lease_expired`` says that it happened. Before the first call there is no deadline.
        """
        # Full: the keeper does not read, and the lines that are there tell it no less.
        with contextlib.suppress(BlockingIOError):
            self._send(SetLease(lease_s))

    def park(self, seconds: float) -> None:
        """Have a training that waits in its callback stay for ``seconds``; ``Parked`` follows."""
        self._send(Park(seconds))

    def _send(self, message: ToKeeper) -> None:
        self._socket.send(message)

    def close(self) -> None:
        """Let go of the lifeline: whatever still lives of the attempt is killed."""
        self._socket.close()
        if self.output is not None:
            os.close(self.output)
            self.output = None

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
    events_fd: int,
    *,
    timeout_s: float,
    preload: bool = True,
    parked: str | None = None,
    entry: str | None = None,
) -> KeeperHandle:
    """Ask the slot process for an attempt; returns as soon as it has been asked.

    ``Started`` follows within some 50 ms, or when the slot process has finished its imports.
    ``events_fd`` becomes its event channel, and stays the caller's, who must close it for the other
    end to see the training's end.
    ``env`` is set in the training process only. If the attempt ``parked`` is parked at this
    slot the new one goes on in its process (``Started.warm``), else it starts cold. ``entry`` runs
    in the place of a training.
    Raises SlotUnavailable if nobody listens within ``timeout_s``.
    """
    request = StartAttempt(attempt_id, dict(env), preload, parked, entry)
    deadline = time.monotonic() + timeout_s
    connection = _connect(socket_name, deadline)
    try:
        connection.settimeout(_left_s(deadline))
        socket.send_fds(connection, [encode(request)], [events_fd])
    except OSError as error:
        connection.close()
        raise SlotUnavailable(f"the slot process went away: {error}") from error
    return KeeperHandle(connection)


def wait_gone(socket_name: str, attempt_id: str, timeout_s: float) -> bool:
    """Whether no process of the attempt is left, after waiting up to ``timeout_s`` for that.

    Also True for an attempt that the slot process has never heard of. Raises SlotUnavailable.
    """
    return _ask(socket_name, WaitGone(attempt_id, timeout_s), timeout_s)


def release_parked(socket_name: str, attempt_id: str, timeout_s: float) -> bool:
    """End an attempt if it is parked, or when it parks; else as :func:`wait_gone`.

    Raises SlotUnavailable.
    """
    return _ask(socket_name, ReleaseParked(attempt_id, timeout_s), timeout_s)


def _ask(socket_name: str, request: WaitGone | ReleaseParked, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    try:
        with _connect(socket_name, deadline) as connection:
            connection.sendall(encode(request))
            # The answer comes at the deadline at the latest; the rest is for the way.
            connection.settimeout(_left_s(deadline) + 1.0)
            with connection.makefile("rb") as answers:
                line = answers.readline()
    except OSError as error:
        raise SlotUnavailable(f"the slot process did not answer: {error}") from error
    if not line.endswith(b"\n"):
        raise SlotUnavailable("the slot process went away")
    answer = decode(line)
    if not isinstance(answer, WhetherGone):
        raise ProtocolError(f"the slot process answered {answer.op}")
    return answer.gone


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
