"""Answers of a hostile backend: each ends in time, takes little memory, and shows no token."""

from __future__ import annotations

import contextlib
import functools
import gzip
import itertools
import socketserver
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator

import pytest
from pydantic import SecretStr

from backend_bridge.delivery.backend_client import (
    Answer,
    BackendClient,
    Delivered,
    Refused,
    TryAgain,
)
from backend_bridge.delivery.messages import BackendMessage
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from trainyard.contract.units import MB

TOKEN = SecretStr("s3cret-job-token")
TIMEOUT_S, SLACK_S = 1.0, 4.0
MEMORY_MAX = 16 * MB
RETRY_MAX_S = 601.0
LAST_BYTES = b'"logs": ["line"]}'
OK = b"HTTP/1.1 200 OK\r\n"
FINE = b'{"success": true}'


def message(key: str) -> BackendMessage:
    return BackendMessage("logs", key, {"logs": ["line"]})


def answer(body: bytes, head: bytes = OK) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@functools.cache
def zeros() -> bytes:
    """300 MB of them, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MB)) for _ in range(300)) + packer.flush()


def bomb(layers: int) -> bytes:
    packed = zeros()
    for _ in range(layers - 1):
        packed = gzip.compress(packed)
    return answer(packed, OK + b"Content-Encoding: " + b", ".join([b"gzip"] * layers) + b"\r\n")


def drip(text: Iterable[bytes]) -> Iterator[bytes]:
    for piece in text:
        time.sleep(0.02)
        yield piece


ENDLESS: dict[str, Iterable[bytes]] = {
    "body": itertools.chain(
        [OK + b"Content-Length: 9999999999\r\n\r\n"], itertools.repeat(b"a" * MB)
    ),
    "head": itertools.chain([OK], (b"X-%d: a\r\n" % n for n in itertools.count())),
    "dripping head": itertools.chain([OK], drip(b"X-%d: a\r\n" % n for n in itertools.count())),
    "dripping line": itertools.chain([OK + b"X: "], drip(itertools.repeat(b"a"))),
    "100 Continue": itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "chunk's length": itertools.chain(
        [OK + b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"1" * 10_000)
    ),
    "chunk": itertools.chain(
        [OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n"],
        itertools.repeat(b"a" * MB),
    ),
}
WRONG: dict[str, bytes] = {
    "5,000 headers": OK
    + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(5000))
    + b"\r\n",
    "junk": b"\x00\xff" * 100_000,
    "status 999": answer(b"", b"HTTP/1.1 999 X\r\n"),
    "status 101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    "deep JSON": answer(b'{"success": ' + b"[" * 60_000),
    "a large number": answer(b'{"success": ' + b"9" * 6_000 + b"}"),
    "a chunk's extension": OK
    + b"Transfer-Encoding: chunked\r\n\r\n1;"
    + b"e" * 60_000
    + b"\r\na\r\nZZ\r\n",
    "a folded header": OK + b"X: a\r\n b\r\n" * 10_000 + b"\r\n",
}


@contextlib.contextmanager
def backend(pieces: Iterable[bytes]) -> Iterator[BackendClient]:
    """One that sends ``pieces`` to whatever it is asked, until the connection ends."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked = b""
            while not asked.endswith(LAST_BYTES):  # what is left unread would reset the connection
                asked += self.request.recv(65_536)
            with contextlib.suppress(OSError):
                for piece in pieces:
                    self.request.sendall(piece)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            with BackendClient(
                f"http://127.0.0.1:{server.server_address[1]}", timeout_s=TIMEOUT_S
            ) as client:
                yield client
        finally:
            server.shutdown()
            serving.join()


def told(pieces: Iterable[bytes]) -> Answer:
    """What the client makes of it, in bounded time and memory."""
    with backend(pieces) as client:
        tracemalloc.start()
        begin = time.monotonic()
        try:
            found = client.post("job-1", TOKEN, message("job-1:1:7"))
            assert time.monotonic() - begin < TIMEOUT_S + SLACK_S
            assert tracemalloc.get_traced_memory()[1] < MEMORY_MAX
        finally:
            tracemalloc.stop()
    assert TOKEN.get_secret_value() not in repr(found)
    return found


@pytest.mark.parametrize("what", ENDLESS)
def test_what_has_no_end_is_given_up(what: str) -> None:
    assert isinstance(told(ENDLESS[what]), TryAgain)


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_answer_is_none(what: str) -> None:
    assert isinstance(told([WRONG[what]]), TryAgain)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_little_that_unpacks_to_much_is_no_answer(layers: int) -> None:
    assert isinstance(told([bomb(layers)]), TryAgain)


def test_two_answers_at_once_are_one() -> None:
    """A connection with bytes left over is given up: seen before a request, or in it."""
    with backend([answer(FINE) * 50]) as client:
        for number in range(3):
            key = f"job-1:1:{number}"
            sent = [client.post("job-1", TOKEN, message(key)) for _ in range(3)]
            assert Delivered() in sent
            assert all(isinstance(one, Delivered | TryAgain) for one in sent)


@pytest.mark.parametrize(
    "when",
    [
        "9" * 400,
        "1e999",
        "-5",
        "٣٣٣",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "inf",
        "0x10",
        "\x01",
        "nan",
    ],
)
def test_a_backend_is_asked_again_whatever_it_says_of_when(when: str) -> None:
    head = f"HTTP/1.1 503 X\r\nRetry-After: {when}\r\n".encode()
    found = told([answer(b"", head)])
    assert isinstance(found, TryAgain)
    assert 0 <= DeliveryPolicy().backoff_s(1, found.retry_after_s) <= RETRY_MAX_S


def test_an_error_forges_no_line_and_repeats_no_token() -> None:
    body = b'{"error": "bad\\nERROR forged \\u001b[31m s3cret-job-token", "details": "x"}'
    assert isinstance(told([answer(body, b"HTTP/1.1 400 X\r\n")]), Refused)
