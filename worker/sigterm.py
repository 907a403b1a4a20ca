"""SIGTERM as something to select on, for as long as an attempt runs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator


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
