"""The output of data loader workers, which outlive a pause that their process spends parked.

A worker keeps the pipe that it was forked with, whose reader is gone once the training is parked:
what it prints after the resume would be lost, or an error.
"""

from __future__ import annotations

import multiprocessing.util
import os
import threading

_READ_BYTES = 1 << 16
_LAST_WORDS_S = 0.5
"""How long a process that ends waits for what its workers printed last."""


class LoaderOutput:
    """Passes on to stdout what the processes that multiprocessing forks from now on print."""

    def __init__(self) -> None:
        read, self._write = os.pipe()
        self._thread = threading.Thread(
            target=_pass_on, args=(read,), name="loader-output", daemon=True
        )
        self._thread.start()
        multiprocessing.util.register_after_fork(self, LoaderOutput._connect)

    def close(self) -> None:
        """Wait for the last words; workers that live on do not hold this up for long."""
        os.close(self._write)
        self._thread.join(_LAST_WORDS_S)

    def _connect(self) -> None:
        for standard in (1, 2):
            os.dup2(self._write, standard)


def _pass_on(source: int) -> None:
    while data := os.read(source, _READ_BYTES):
        while data:
            data = data[os.write(1, data) :]
