"""Total timeout: an HTTP exchange whose time limit bounds the whole of it.

The timeouts of `urllib3` bound each single read: a server that sends one byte every few
seconds holds a request for ever. The sender of a job's events posts only while its lock
outlasts the request, so here nothing is sent, and nothing is waited for, past one deadline.
Resolving a host name is the one step that cannot be interrupted; nothing is sent after it
if it took too long.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import certifi
from urllib3 import BaseHTTPResponse, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_CHUNK_BYTES = 8192
_deadline: ContextVar[float] = ContextVar("deadline")
"""time.monotonic() at which the request of this thread ends."""


def exchange(
    pool: HTTPConnectionPool,
    method: str,
    target: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    until: float,
    most: int,
) -> tuple[BaseHTTPResponse, bytes]:
    """An answer and its body, of which little more than ``most`` bytes are read; 0: none of it.

    No redirect is followed. Past ``until`` (time.monotonic()) nothing is sent. Raises
    urllib3.exceptions.HTTPError.
    """
    reset = _deadline.set(until)
    try:
        how = {"redirect": False, "retries": False, "preload_content": False}
        answer = pool.urlopen(method, target, body=body, headers=headers, **how)
        received = b""
        try:
            for chunk in answer.stream(_CHUNK_BYTES) if most else ():
                received += chunk
                if len(received) > most:
                    break
        finally:
            answer.close()  # read to its end, its connection is back in the pool
        return answer, received
    finally:
        _deadline.reset(reset)


def _remaining_s() -> float:
    remaining_s = _deadline.get() - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("the request's time is over")
    return remaining_s


class _DeadlineReader(socket.SocketIO):
    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_remaining_s())  # type: ignore[attr-defined]  # SocketIO's own field
        return super().readinto(buffer)


class _DeadlineSource:
    """What `http.client` takes for a socket when it reads a response."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        # As socket.makefile does: the descriptor stays open until the response is closed too.
        self._sock._io_refs += 1
        return io.BufferedReader(_DeadlineReader(self._sock, "r"))


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        source: Any = _DeadlineSource(sock)
        super().__init__(source, *args, **kwargs)


class _PlainConnection(HTTPConnection):
    """Connects and sends only before the deadline."""

    response_class = _DeadlineResponse

    def connect(self) -> None:
        self.timeout = _remaining_s()
        super().connect()

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(_remaining_s())
        super().send(data)


class _TlsConnection(_PlainConnection, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls: Any = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls: Any = _TlsConnection


def make_pool(base_url: str) -> HTTPConnectionPool:
    """Kept-alive connections to one server for one thread, for :func:`exchange`.

    Unlike a session of `requests` they take nothing from the environment (a netrc file would
    replace the Authorization header, a proxy would see it) and keep no cookies (one job's answer
    must not change another's request).
    """
    manager = PoolManager(ca_certs=certifi.where())
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
    return manager.connection_from_url(base_url)
