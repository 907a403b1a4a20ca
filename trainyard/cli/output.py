"""Output of a program that must go on: to a terminal, a pipe or a file that may be full or gone."""

from __future__ import annotations

import io
import os
import queue
import threading
from typing import TextIO

TEXTS_WAITING_MAX = 1000
DRAIN_TIMEOUT_S = 1.0


class PatientOutput(io.TextIOBase):
    """A text stream whose writer never waits and never fails: ``trainyard up | head``.

    A thread of its own writes. What its reader does not take is dropped: past a thousand texts
    while it is slow, and all when it is gone. ``stream`` is None if its descriptor was closed.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._fd = None if stream is None else os.dup(stream.fileno())
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._texts: queue.Queue[str] = queue.Queue(TEXTS_WAITING_MAX)
        # A daemon: a reader that takes nothing must not keep the process either.
        threading.Thread(target=self._write_all, name="output", daemon=True).start()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has an attribute
        return self._encoding

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._fd is not None and os.isatty(self._fd)

    def write(self, text: str) -> int:
        try:
            self._texts.put_nowait(text)
        except queue.Full:
            return 0
        return len(text)

    def drain(self) -> None:
        """Wait a moment for what was written last."""
        finished = threading.Thread(target=self._texts.join, daemon=True)
        finished.start()
        finished.join(DRAIN_TIMEOUT_S)

    def _write_all(self) -> None:
        while True:
            text = self._texts.get()
            try:
                if self._fd is not None:
                    _write(self._fd, text.encode(self._encoding, errors="replace"))
            except OSError:  # nobody reads any more; a disk that is full may have room again
                pass
            finally:
                self._texts.task_done()


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
