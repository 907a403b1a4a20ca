"""A web server that serves files well, badly, or dishonestly, on loopback."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

Answer = Callable[["Handler"], None]


def in_turn(*answers: Answer) -> Answer:
    """The first answer to the first request, and so on."""
    left = iter(answers)

    def answer(to: Handler) -> None:
        next(left)(to)

    return answer


@dataclass
class FileServer:
    """``files`` are served with an ETag and ranges; ``answers`` do what they like instead.

    ``certificate``: a PEM file with a key, for https.
    """

    host: str = "127.0.0.1"
    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    certificate: Path | None = None
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __enter__(self) -> FileServer:
        handler = type("OwnHandler", (Handler,), {"owner": self})
        self._server = ThreadingHTTPServer((self.host, self.port), handler)
        self._server.daemon_threads = True
        # Clients that hang up are what this server is for.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.port = self._server.server_address[1]
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, path: str) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://{self.host}:{self.port}{path}"


class Handler(BaseHTTPRequestHandler):
    """One request; ``owner`` says what to answer."""

    owner: FileServer
    protocol_version = "HTTP/1.1"
    timeout = 20

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.owner.requests.append((path, dict(self.headers)))
        answer = self.owner.answers.get(path)
        if answer is not None:
            answer(self)
        elif path in self.owner.files:
            self.serve(self.owner.files[path])
        else:
            self.answer(404)

    def serve(self, content: bytes, *, cut_after: int | None = None) -> None:
        """Serve ``content``, or only so much of what was asked for, and then break off."""
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            self.answer(304, ETag=etag)
            return
        start = 0
        asked = self.headers.get("Range", "")
        if asked and self.headers.get("If-Range") == etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        more = (
            {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        )
        self.head(206 if start else 200, len(content) - start, ETag=etag, **more)
        body = content[start:]
        self.wfile.write(body if cut_after is None else body[:cut_after])
        if cut_after is not None and cut_after < len(body):
            self.hang_up()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.head(status, len(body), **headers)
        self.wfile.write(body)

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None and status != 304:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def stall(self, seconds: float) -> None:
        self.wfile.flush()
        time.sleep(seconds)

    def log_message(self, *_: Any) -> None:
        pass
