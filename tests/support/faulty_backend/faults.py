"""Faults on demand: what a backend does on its bad days."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import formatdate
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.support.faulty_backend.recording import RECORDED_PATHS

Client = tuple[str, int]


class Fault(BaseModel):
    """One way to misbehave towards the contract's requests that it matches.

    ``latency_s`` waits first and combines with everything. Then at most one of: ``status``
    (answered without doing anything, as JSON or ``html``, with a Retry-After of ``retry_after_s``
    as a number, or as an HTTP date with ``retry_after_date``), ``reset`` (the connection is reset,
    nothing is done), ``half_body`` (done, but the answer breaks off in the middle of its body),
    ``lose_answer`` (done, then the connection closes without an answer), ``down_s`` (nothing is
    done; all connections are reset, and for so many seconds nobody can connect).
    """

    model_config = ConfigDict(extra="forbid")

    latency_s: Annotated[float, Field(ge=0, le=3600)] = 0
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    html: bool = False
    retry_after_s: Annotated[int, Field(ge=0)] | None = None
    retry_after_date: bool = False
    reset: bool = False
    half_body: bool = False
    lose_answer: bool = False
    down_s: Annotated[float, Field(gt=0, le=3600)] | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    path_contains: str = ""
    method: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Fault:
        ways = (self.status, self.reset, self.half_body, self.lose_answer, self.down_s)
        if sum(bool(way) for way in ways) > 1:
            raise ValueError("status, reset, half_body, lose_answer and down_s exclude each other")
        if self.status is None and (self.html or self.retry_after_s is not None):
            raise ValueError("html and retry_after_s need a status")
        if self.retry_after_date and self.retry_after_s is None:
            raise ValueError("retry_after_date needs retry_after_s")
        return self

    @property
    def name(self) -> str:
        """As it stands in the record of requests."""
        if self.status is not None:
            return f"status {self.status}"
        for way in ("reset", "half_body", "lose_answer", "down_s"):
            if getattr(self, way):
                return way.removesuffix("_s")
        return "latency"

    def matches(self, method: str, path: str) -> bool:
        """Whether this fault is meant for such a request."""
        return self.path_contains in path and self.method in (None, method)


class Faults:
    """The faults that are set. The first that matches is taken, ``times`` times if it says so."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Set one more, behind those that are set."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Behave well again."""
        self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, counted; None where it is to be served well."""
        for fault in self._faults:
            if fault.matches(method, path):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                return fault
        return None

    def describe(self) -> list[dict[str, Any]]:
        """Those that are set, in order."""
        return [fault.model_dump(exclude_defaults=True) for fault in self._faults]


class Listener(Protocol):
    """What takes new connections: the server."""

    def stop_listening(self) -> None:
        """Refuse whoever connects."""

    async def listen_again(self) -> None:
        """Take connections on the same address."""


class Connections:
    """The open connections of the server by their client's address, so as to break them.

    ``listener`` is set by the server itself.
    """

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self._open: dict[Client, tuple[asyncio.Transport, asyncio.Event]] = {}

    def protocol(self) -> type[H11Protocol]:
        """A protocol class for uvicorn's ``http`` option that registers its connections here."""
        connections = self._open

        class TrackedProtocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
                super().connection_made(transport)
                self.address: Client = transport.get_extra_info("peername")[:2]
                connections[self.address] = (transport, asyncio.Event())

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                connections.pop(self.address)[1].set()

        return TrackedProtocol

    async def end(self, client: Client, *, reset: bool = False) -> None:
        """Close a connection behind what was sent, or reset it; returns when it is gone."""
        transport, gone = self._open[client]
        if reset:
            linger_not = b"\1\0\0\0\0\0\0\0"  # struct linger {1, 0}: close() sends RST
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger_not
            )
            transport.abort()
        else:
            transport.close()
        await gone.wait()

    async def all_down(self, seconds: float) -> None:
        """Reset every connection and refuse new ones; returns when that is over."""
        assert self.listener is not None, "the server says how to"
        self.listener.stop_listening()
        for client in list(self._open):
            if client in self._open:  # it may have left while another was waited for
                await self.end(client, reset=True)
        await asyncio.sleep(seconds)
        await self.listener.listen_again()


class Misbehaviour:
    """ASGI middleware that plays the faults that are set."""

    def __init__(self, app: ASGIApp, faults: Faults, connections: Connections) -> None:
        self._app = app
        self._faults = faults
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = None
        if scope["type"] == "http" and scope["path"].startswith(RECORDED_PATHS):
            fault = self._faults.take(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
            return
        scope["fault"] = fault.name
        await asyncio.sleep(fault.latency_s)
        if fault.status is not None:
            await _refusal(fault, fault.status)(scope, receive, send)
        elif fault.down_s is not None:
            await self._connections.all_down(fault.down_s)
        elif fault.reset:
            await self._end(scope, reset=True)
        elif fault.lose_answer:
            await self._app(scope, receive, _swallow)
            await self._end(scope)
        elif fault.half_body:
            await self._app(scope, receive, _Halved(send))
            await self._end(scope)
        else:
            await self._app(scope, receive, send)

    async def _end(self, scope: Scope, *, reset: bool = False) -> None:
        host, port = scope["client"]
        await self._connections.end((host, port), reset=reset)


def _refusal(fault: Fault, status: int) -> Response:
    headers = {}
    if fault.retry_after_s is not None:
        at = formatdate(time.time() + fault.retry_after_s, usegmt=True)
        headers["retry-after"] = at if fault.retry_after_date else str(fault.retry_after_s)
    if fault.html:
        page = f"<!doctype html><title>{status}</title><h1>{status} Bad day</h1>"
        return HTMLResponse(page, status, headers)
    return JSONResponse({"error": f"Asked to answer {status}"}, status, headers)


async def _swallow(message: Message) -> None:
    """A ``send`` for an answer that is lost on its way."""


class _Halved:
    """A ``send`` that stops in the middle of the body; the length in the head is the whole's."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            message = {**message, "body": body[: len(body) // 2], "more_body": True}
        await self._send(message)
