"""Signals as descriptors to select on: SIGTERM while an attempt runs, any in a select loop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator


@contextlib.contextmanager
def sigterm_as_fd() -> Iterator[int]:
    """A descriptor that becomes readable at SIGTERM, which does nothing else meanwhile.

    So a revoke kills the training and not the pool child, and the slot's next job needs no new
    one, for which Celery may take 5 s. Main thread only.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.signal(signal.SIGTERM, lambda *_: os.write(write, b"t"))
    try:
        yield read
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(read)
        os.close(write)


class SignalWakeup:
    """Turns signals into a readable file descriptor, for a single-threaded select loop.

    ``seen`` holds the signals that came since the last :meth:`take`.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for signum in signals:
            signal.signal(signum, _wake_only)

    def fileno(self) -> int:
        """The descriptor that becomes readable when a signal has come."""
        return self._read_fd

    def take(self) -> set[int]:
        """The signals that have come since the last call; does not wait."""
        try:
            return set(os.read(self._read_fd, 4096))
        except BlockingIOError:
            return set()

    def close(self) -> None:
        """Close both ends. The caller must have unset the wakeup descriptor."""
        os.close(self._read_fd)
        os.close(self._write_fd)


def _wake_only(signum: int, frame: object) -> None:
    """The handler of a signal that :class:`SignalWakeup` reports."""
