"""An HTTP server in the bridge's place that answers as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Call:
    """One request as it arrived; ``path`` with its query, as it stood on the wire."""

    method: str
    path: str
    authorization: str | None
    body: Any


class FakeBridge:
    """Context manager. ``answers[(method, path without query)]`` is ``(status, body)`` or a
    function of the Call that returns one; a body that is no str goes out as JSON."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {}
        self.calls: list[Call] = []
        bridge = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.loads(raw) if raw else None
                call = Call(self.command, self.path, self.headers.get("Authorization"), body)
                bridge.calls.append(call)
                found = bridge.answers.get(
                    (self.command, self.path.partition("?")[0]), (404, {"error": "no such route"})
                )
                status, sent = found(call) if isinstance(found, Callable) else found
                data = (sent if isinstance(sent, str) else json.dumps(sent)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
