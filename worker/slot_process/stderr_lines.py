"""Lines on stderr of a process that must go on when nobody reads them any more."""

from __future__ import annotations

import contextlib
import sys


def say(line: str) -> None:
    """Print one line, if it can be."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
