"""Requests to the slot process: read without blocking, with the descriptors that come along."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from trainyard.contract.error_tree import TrainyardError
from worker.machine.unix_socket import Peer, receive_fds

_MAX_FDS = 2
_MAX_REQUEST_BYTES = 1 << 20


class BadRequest(TrainyardError):
    """A request that the slot process does not understand."""


class StartRequest(BaseModel):
    """Start an attempt; comes with two descriptors, output and events.

    ``parked`` names the attempt of the same job that may still be parked here, to go on in its
    process.
    """

    op: Literal["start"] = "start"
    attempt_id: str
    env: dict[str, str] = {}
    preload: bool = True
    parked: str | None = None


class WaitGoneRequest(BaseModel):
    """Answer when no process of the attempt is left, or after ``timeout_s``."""

    op: Literal["wait_gone"] = "wait_gone"
    attempt_id: str
    timeout_s: Annotated[float, Field(ge=0)]


class ReleaseRequest(BaseModel):
    """End the attempt where it is parked; answer as to a :class:`WaitGoneRequest`."""

    op: Literal["release"] = "release"
    attempt_id: str
    timeout_s: Annotated[float, Field(ge=0)]


class ParkedRequest(BaseModel):
    """Name the attempts that are parked."""

    op: Literal["parked"] = "parked"


class Closed:
    """The other side has gone away."""


AnyRequest = StartRequest | WaitGoneRequest | ReleaseRequest | ParkedRequest
_parse = TypeAdapter[AnyRequest](Annotated[AnyRequest, Field(discriminator="op")]).validate_json


class Request:
    """One connection on which a request is being read. Owns the connection and ``fds``."""

    def __init__(self, connection: socket.socket, peer: Peer) -> None:
        self.connection = connection
        self.peer = peer
        self.fds: list[int] = []
        self._received = b""

    def read(self) -> AnyRequest | Closed | None:
        """Read what there is; None while the request is not complete. Raises BadRequest."""
        try:
            data, fds = receive_fds(self.connection, _MAX_FDS)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return Closed()
        self.fds.extend(fds)
        if not data:
            return Closed()
        self._received += data
        if b"\n" not in data:
            if len(self._received) > _MAX_REQUEST_BYTES:
                raise BadRequest("too long")
            return None
        return self._complete()

    def _complete(self) -> AnyRequest | Closed:
        try:
            request = _parse(self._received)
        except ValidationError as error:
            # Without the input: it may hold a secret.
            problems = error.errors(include_input=False, include_url=False)
            raise BadRequest("; ".join(f"{p['loc']}: {p['msg']}" for p in problems)) from None
        if isinstance(request, StartRequest):
            if len(self.fds) != _MAX_FDS:
                raise BadRequest(f"{len(self.fds)} descriptors came along instead of {_MAX_FDS}")
            if self._hung_up():
                return Closed()
        return request

    def _hung_up(self) -> bool:
        """Whether the supervisor has died since: its request waited in the backlog, maybe long."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Close the connection and the descriptors that came over it."""
        self.connection.close()
        while self.fds:
            os.close(self.fds.pop())

    def __enter__(self) -> Request:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Started:
    """The training process runs. ``at`` is ``time.monotonic()`` of the host.

    ``preloaded`` is False where it is a fresh interpreter. ``warm``: it was parked, and goes on.
    """

    pid: int
    at: float
    preloaded: bool
    warm: bool = False


@dataclass(frozen=True)
class Gone:
    """No process of the attempt is left.

    Exactly one of ``exit_code`` and ``signal`` is set where the training had started; ``error``
    says why it had not. ``killed_descendants`` counts processes, the training itself not among
    them, that were alive when the attempt ended. ``lease_expired``: it was killed since the
    supervisor had not renewed its lease.
    """

    exit_code: int | None
    signal: int | None
    killed_descendants: int
    error: str | None = None
    lease_expired: bool = False


@dataclass(frozen=True)
class Parked:
    """The training stays, without a supervisor, until it is resumed or given up.

    Closing the handle ends nothing any more.
    """


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
    """The connection ended without ``Gone``: ask ``wait_gone`` whether all is gone."""


Message = Started | Gone | Parked | StillAlive | Refused | KeeperLost


def parse_message(raw: dict[str, Any]) -> Message:
    """One line of the lifeline. Raises ValueError."""
    match raw:
        case {"started": pid, "at": at, "preloaded": preloaded}:
            return Started(pid, at, preloaded, raw.get("warm", False))
        case {"gone": True, "exit_code": code, "signal": signum, "killed_descendants": killed}:
            return Gone(code, signum, killed, raw["error"], raw["lease_expired"])
        case {"parked": True}:
            return Parked()
        case {"gone": False, "left": pids}:
            return StillAlive(tuple(pids))
        case {"refused": reason}:
            return Refused(reason)
    raise ValueError(f"the keeper sent {str(raw)[:200]!r}")
