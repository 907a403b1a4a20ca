"""Connections that send half a request, as many as there are descriptors."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI

from backend_bridge.api import slow_clients
from backend_bridge.api.slow_clients import RequestDeadline
from tests.support.ports import free_port

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
    port = free_port()
    config = uvicorn.Config(app, port=port, http=RequestDeadline, ws="none", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join()


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
