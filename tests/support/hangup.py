"""SIGHUP as a child inherits it, whatever the tests themselves were started with (``nohup``)."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def children_hear_hangups(*, ignored: bool = False) -> Iterator[None]:
    """Children started in the block die of SIGHUP if they do nothing; ``ignored``: are deaf to it.

    Main thread only.
    """
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
