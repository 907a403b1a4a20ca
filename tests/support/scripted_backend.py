"""An HTTP server that answers the backend's three endpoints as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

Fault = Literal["reset", "half_body", "hang", "drip_head", "drip_body"]


@dataclass(frozen=True)
class Reply:
    """One answer. ``reset``: none at all, the connection ends; ``hang``: none until the test
    ends; ``drip_*``: one byte every 50 ms, for ever."""

    code: int = 200
    body: bytes = b'{"success": true}'
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    fault: Fault | None = None


OK = Reply()
LACKING = Reply(405, b"{}")


@dataclass(frozen=True)
class Received:
    """One request as it arrived; ``client`` is the connection's (host, port)."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    client: tuple[str, int]

    @property
    def job_id(self) -> str:
        """The job that the path names, or the body."""
        return str(self.body["job_id"]) if self.is_optional else self.path.split("/")[4]

    @property
    def is_optional(self) -> bool:
        """Whether it is for a route that a backend may lack."""
        return len(self.path.split("/")) == 5

    @property
    def key(self) -> str:
        """The Idempotency-Key."""
        return self.headers["Idempotency-Key"]


class ScriptedBackend:
    """Context manager. ``received`` lists all requests in the order of their arrival.

    ``script(job_id, replies)`` answers a job's next requests; afterwards, and for other jobs,
    ``answer`` decides, by default with success. ``most_in_flight[job_id]`` is the largest
    number of requests of a job that were ever under way at one time.

    Routes that a backend may lack are answered 405 and not listed, unless it
    ``has_optional_routes``.
    """

    def __init__(
        self,
        answer: Callable[[Received], Reply] = lambda request: OK,
        *,
        has_optional_routes: bool = False,
    ) -> None:
        self.answer = answer
        self.has_optional_routes = has_optional_routes
        self.received: list[Received] = []
        self.most_in_flight: Counter[str] = Counter()
        self._scripts: dict[str, deque[Reply]] = {}
        self._in_flight: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.backend = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def script(self, job_id: str, replies: Iterable[Reply]) -> None:
        """Answer the next requests of a job with these, one each."""
        with self._lock:
            self._scripts.setdefault(job_id, deque()).extend(replies)

    def of(self, job_id: str) -> list[Received]:
        """The requests of one job."""
        with self._lock:
            return [request for request in self.received if request.job_id == job_id]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # ------------------------------------------------------------ for the handler

    def begin(self, request: Received) -> Reply:
        """Note a request that has arrived; what to answer."""
        with self._lock:
            self._in_flight[request.job_id] += 1
            flying = self._in_flight[request.job_id]
            self.most_in_flight[request.job_id] = max(flying, self.most_in_flight[request.job_id])
            if request.is_optional and not self.has_optional_routes:
                return LACKING
            self.received.append(request)
            script = self._scripts.get(request.job_id)
            if script:
                return script.popleft()
        return self.answer(request)

    def end(self, request: Received) -> None:
        """Note that a request is no longer worked on."""
        with self._lock:
            self._in_flight[request.job_id] -= 1

    def pause(self, seconds: float) -> bool:
        """Wait; True where the test is over."""
        return self._over.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    backend: ScriptedBackend

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        backend = self.server.backend
        request = Received(
            self.command,
            self.path,
            dict(self.headers.items()),
            json.loads(raw) if raw else None,
            self.client_address,
        )
        reply = backend.begin(request)
        try:
            backend.pause(reply.delay_s)
        finally:
            backend.end(request)  # before the answer: the client's next request may overtake us
        self._answer(reply)

    do_PATCH = do_PUT = do_POST = do_GET = _handle

    def _answer(self, reply: Reply) -> None:
        head = f"HTTP/1.1 {reply.code} X\r\nContent-Length: {len(reply.body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items()) + "\r\n"
        match reply.fault:
            case None:
                self.wfile.write(head.encode() + reply.body)
            case "half_body":
                self.wfile.write(head.encode() + reply.body[: len(reply.body) // 2])
            case "hang":
                self.server.backend.pause(3600)
            case "drip_head":
                self._drip(b"HTTP/1.1 200 X\r\nX-Slow: " + b"x" * 10_000)
            case "drip_body":
                self.wfile.write(b"HTTP/1.1 200 X\r\nContent-Length: 10000\r\n\r\n")
                self._drip(b" " * 10_000)
            case "reset":
                pass
        if reply.fault:
            self.close_connection = True

    def _drip(self, data: bytes) -> None:
        for number in range(len(data)):
            self.wfile.write(data[number : number + 1])
            if self.server.backend.pause(0.05):
                return

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
