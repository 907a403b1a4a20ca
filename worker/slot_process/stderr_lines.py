"""Lines on stderr of a process that must go on when nobody reads them any more.

What repeats is said once a minute: any user of the host can make the slot process refuse a
connection, thousands of times a second.
"""

from __future__ import annotations

import contextlib
import logging
import sys

from trainyard.service_logs import Repeated

_repeated = Repeated()


def say(line: str) -> None:
    """Print one line, if it can be."""
    record = logging.LogRecord("slot", logging.WARNING, "", 0, "%s", (line,), None)
    if not _repeated.filter(record):
        return
    with contextlib.suppress(OSError):
        print(record.getMessage(), file=sys.stderr, flush=True)
