"""Connections that send half a request, as many as there are descriptors."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from backend_bridge.api import slow_clients
from tests.support.served_app import served

MOST = 20
HALF = b"GET /health HTTP/1.1\r\nHost: x\r\nX-a: "
WHOLE = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    app = FastAPI()

    @app.get("/health")
    def health() -> str:
        return "ok"

    monkeypatch.setattr(slow_clients, "connections_max", lambda: MOST)
    with served(app) as port:
        yield port


def connect(port: int, first: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(first)
    return connection


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_others_are_served_while_half_requests_wait(port: int) -> None:
    with contextlib.ExitStack() as stack:
        halves = [stack.enter_context(connect(port, HALF)) for _ in range(3 * MOST)]
        with connect(port, WHOLE) as mine:
            assert b'"ok"' in mine.makefile("rb").read()
        left = [half for half in halves if not is_closed(half)]
        assert len(left) <= MOST
        assert left == halves[-len(left) :], "who waited longest was closed"
