"""A TCP proxy on the loopback interface that a test can cut: a network that fails."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from tests.support.waiting import wait_for


class TcpProxy:
    """Passes connections on to ``port``. A context manager; ``own_port`` is where it listens."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.own_port: int = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._holes: list[socket.socket] = []
        self._cut = threading.Event()
        self._swallow = threading.Event()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def cut(self) -> None:
        """Break every connection; new ones are closed at once, until :meth:`mend`."""
        self._cut.set()

    def mend(self) -> None:
        """Pass new connections on again."""
        self._cut.clear()

    def swallow(self) -> None:
        """Make a black hole of every present connection, as a NAT or a failover does: it stays
        open, and nobody reads or answers. New ones work."""
        self._swallow.set()
        wait_for("the connections are black holes", lambda: not self._swallow.is_set())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        with self._listener, selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ends.is_set():
                ready = [key.fileobj for key, _ in selector.select(0.05)]
                if self._cut.is_set():
                    self._close_all(selector)
                if self._swallow.is_set():
                    self._swallow_all(selector)
                for source in ready:
                    assert isinstance(source, socket.socket)
                    if source is self._listener:
                        self._accept(selector)
                    elif source in self._pairs:
                        self._pass_on(source, selector)
            self._close_all(selector)
            for hole in self._holes:
                hole.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listener.accept()
        if self._cut.is_set():
            near.close()
            return
        try:
            far = socket.create_connection(self._target)
        except ConnectionError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket, selector: selectors.BaseSelector) -> None:
        try:
            data = source.recv(65536)
            self._pairs[source].sendall(data)
        except ConnectionError:
            data = b""
        if not data:
            self._close(source, selector)

    def _close(self, one: socket.socket, selector: selectors.BaseSelector) -> None:
        for end in (one, self._pairs.pop(one)):
            self._pairs.pop(end, None)
            with contextlib.suppress(KeyError):
                selector.unregister(end)
            end.close()

    def _close_all(self, selector: selectors.BaseSelector) -> None:
        while self._pairs:
            self._close(next(iter(self._pairs)), selector)

    def _swallow_all(self, selector: selectors.BaseSelector) -> None:
        for end in self._pairs:
            selector.unregister(end)
        self._holes += self._pairs
        self._pairs.clear()
        self._swallow.clear()
