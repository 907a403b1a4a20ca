"""Deadlines of a request: how long a client may take to send one, and how many clients may wait.

They hold below ASGI, which does not see half a request.

Uvicorn waits for ever for the rest of a header or a body; a few hundred connections of a client
that stopped in the middle would take every file descriptor of the bridge. It also collects headers
of any size, before anyone is asked for a key.
"""

from __future__ import annotations

import asyncio
import json
import resource
from functools import cache
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from backend_bridge.api.error_responses import error_body
from trainyard.contract.units import KIB

HEADERS_S = 10.0
"""From the connection, or a request's first byte, to the end of its headers."""
BODY_PAUSE_S = 15.0
"""Between two pieces of a body."""
REQUEST_S = 300.0
"""The whole request."""
HEAD_BYTES_MAX = 64 * KIB
"""Of the request line and the headers, beyond the first read of the socket."""

CONNECTIONS_MAX = 2000

_REASONS = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


@cache
def connections_max() -> int:
    """Half of the descriptors that this process may have: Redis, files and logs need some."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(8, min(CONNECTIONS_MAX, soft // 2))


class RequestDeadline(HttpToolsProtocol):
    """Uvicorn's protocol with deadlines, and with JSON if it refuses a request by itself."""

    waiting: ClassVar[dict[RequestDeadline, None]] = {}
    """Those whose request has not come whole, in the order in which they began to wait."""
    _timer: asyncio.TimerHandle | None = None
    _give_up_at = 0.0
    _in_body = False
    _head_began = False
    """Within the piece that is being read; its first bytes may belong to another request."""
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._make_room()
        self._wait_for(HEADERS_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_began = False
        super().data_received(data)
        if not (self._in_body or self._head_began or self.transport.is_closing()):
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                kib = HEAD_BYTES_MAX // KIB
                self._refuse(431, f"the request's headers are larger than {kib} KiB")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_body = False
        self._head_began = True
        self._head_bytes = 0
        self._give_up_at = self.loop.time() + REQUEST_S
        self._wait_for(HEADERS_S)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_body = True
        self._wait_for(BODY_PAUSE_S)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._wait_for(min(BODY_PAUSE_S, max(0.0, self._give_up_at - self.loop.time())))

    def on_message_complete(self) -> None:
        self._stop_waiting()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is no HTTP request that the bridge understands")

    def _make_room(self) -> None:
        """Close who has waited longest with half a request; if nobody has, this connection."""
        if len(self.connections) > connections_max():
            longest = next(iter(self.waiting), self)
            self.waiting.pop(longest, None)
            longest.transport.abort()

    def _wait_for(self, seconds: float) -> None:
        self._stop_waiting()
        if not self._in_body:
            self.waiting[self] = None
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._in_body and self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(408, "the rest of the request did not come in time")

    def _refuse(self, status: int, sentence: str) -> None:
        body = json.dumps(error_body(sentence)).encode()
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
