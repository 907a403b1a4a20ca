"""Requests to the slot process: read without blocking, with the descriptors that come along."""

from __future__ import annotations

import array
import os
import socket
from types import TracebackType
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from worker.unix_socket import Peer

_MAX_FDS = 2
_MAX_REQUEST_BYTES = 1 << 20


class BadRequest(ValueError):
    """A request that the slot process does not understand."""


class StartRequest(BaseModel):
    """Start an attempt; comes with two descriptors, output and events."""

    op: Literal["start"] = "start"
    attempt_id: str
    env: dict[str, str] = {}
    preload: bool = True


class WaitGoneRequest(BaseModel):
    """Answer when no process of the attempt is left, or after ``timeout_s``."""

    op: Literal["wait_gone"] = "wait_gone"
    attempt_id: str
    timeout_s: Annotated[float, Field(ge=0)]


class Closed:
    """The other side has gone away."""


AnyRequest = StartRequest | WaitGoneRequest
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
            data = self._receive()
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return Closed()
        if not data:
            return Closed()
        self._received += data
        if b"\n" not in data:
            if len(self._received) > _MAX_REQUEST_BYTES:
                raise BadRequest("too long")
            return None
        return self._complete()

    def _receive(self) -> bytes:
        fds = array.array("i")
        # CLOEXEC: programs that a training starts shall not hold its channel.
        data, ancillary, _, _ = self.connection.recvmsg(
            65536, socket.CMSG_SPACE(_MAX_FDS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        self.fds.extend(fds)
        return data

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
