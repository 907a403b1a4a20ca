"""Output of data loader workers, which outlive a pause that their process spends parked.

A worker keeps the pipe that it was forked with, whose reader is gone once the training is parked:
what it prints after the resume would be lost, or an error.
"""

from __future__ import annotations

import fcntl
import multiprocessing.util
import os
import select
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_READ_BYTES = 1 << 16
_LAST_WORDS_S = 0.5
"""How long a process that ends or parks waits for what its workers printed last."""
_LOOK_AGAIN_S = 0.001


class LoaderOutput:
    """Passes on to stdout what the processes that multiprocessing forks from now on print."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._passing = threading.Lock()
        self._thread = threading.Thread(target=self._pass_on, name="loader-output", daemon=True)
        self._thread.start()
        multiprocessing.util.register_after_fork(self, LoaderOutput._connect)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What was printed before has been passed on; what comes inside waits for the end of it.

        A worker that prints without end does not hold this up for long.
        """
        deadline = time.monotonic() + _LAST_WORDS_S
        self._passing.acquire()
        while self._something_waits() and time.monotonic() < deadline:
            self._passing.release()
            time.sleep(_LOOK_AGAIN_S)
            self._passing.acquire()
        try:
            yield
        finally:
            self._passing.release()

    def close(self) -> None:
        """Wait for the last words; workers that live on do not hold this up for long."""
        os.close(self._write)
        self._thread.join(_LAST_WORDS_S)

    def _connect(self) -> None:
        for standard in (1, 2):
            os.dup2(self._write, standard)

    def _something_waits(self) -> bool:
        count = fcntl.ioctl(self._read, termios.FIONREAD, bytes(4))
        return any(count)

    def _pass_on(self) -> None:
        while True:
            select.select([self._read], [], [])
            with self._passing:
                if not (data := os.read(self._read, _READ_BYTES)):
                    return
                while data:
                    data = data[os.write(1, data) :]
