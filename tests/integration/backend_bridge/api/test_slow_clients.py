"""Requests that stop in the middle, on real sockets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request

from backend_bridge.api import slow_clients
from backend_bridge.api.request_body import json_body
from tests.support.served_app import served

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
WHOLE = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    app = FastAPI()

    @app.post("/")
    async def echo(request: Request) -> Any:
        return await json_body(request, 1)

    patch = pytest.MonkeyPatch()
    patch.setattr(slow_clients, "HEADERS_S", 0.3)
    patch.setattr(slow_clients, "BODY_PAUSE_S", 0.3)
    patch.setattr(slow_clients, "REQUEST_S", 0.8)
    with served(app) as port:
        yield port
    patch.undo()


def talk(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send the pieces, then read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answer = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionError:
            pass  # it closed while we were still sending
        return answer


def refused(answer: bytes, status: int) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    found = json.loads(body)
    assert found["error"] == found["message"] == found["detail"]
    sentence: str = found["error"]
    return sentence


@pytest.mark.parametrize(
    "half", [b"", b"POST / HT", HEAD, HEAD + b"\r\n", HEAD + b"\r\n{"],
    ids=["nothing", "request line", "headers", "no body", "half a body"],
)  # fmt: skip
def test_half_a_request_is_not_waited_for(port: int, half: bytes) -> None:
    assert "did not come in time" in refused(talk(port, half), 408)


def test_half_a_chunked_body_is_not_waited_for(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    refused(talk(port, head + b"1\r\n{\r\n"), 408)


def test_a_request_that_trickles_ends_too(port: int) -> None:
    head = HEAD.replace(b"4", b"1000") + b"\r\n"
    started = time.monotonic()
    talk(port, head, *[b" "] * 100, pause_s=0.1)
    assert time.monotonic() - started < 5


def test_half_a_second_request_on_a_connection(port: int) -> None:
    answer = talk(port, WHOLE, HEAD, pause_s=0.05)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


def test_a_slow_request_in_time_is_answered(port: int) -> None:
    pieces = (HEAD + b"Connection: close\r\n\r\n", b"{", b"  }")
    answer = talk(port, *pieces, pause_s=0.1)
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_rubbish_is_answered_in_json(port: int) -> None:
    assert "no HTTP request" in refused(talk(port, b"\x16\x03\x01 hello\r\n\r\n"), 400)


def test_headers_of_any_size_are_not_collected(port: int) -> None:
    pieces = [b"GET / HTTP/1.1\r\nHost: x\r\nX: "] + [b"a" * 8192] * 9
    answer = talk(port, *pieces, pause_s=0.01)
    assert "headers are larger than 64 KiB" in refused(answer, 431)


def test_a_large_body_is_no_large_header(port: int) -> None:
    body = b'"' + b"a" * 300_000 + b'"'
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(body)
    last = HEAD + b"Connection: close\r\n\r\nnull"
    answer = talk(port, head + b"\r\n" + body + HEAD + b"\r\nnull" + last)
    assert answer.count(b"HTTP/1.1 200 ") == 3


def test_a_compressed_body_is_refused_in_plain_words(port: int) -> None:
    head = HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
    assert b"encoded (gzip): send it plain" in talk(port, head + b"\x1f\x8b\x08\x00")
