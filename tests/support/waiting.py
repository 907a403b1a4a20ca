"""Waiting for what other threads and processes bring about: polled, with a limit, by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

WAIT_S = 90.0
_EVERY_S = 0.02


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """Wait until ``condition()`` is true and return it; fails the test with ``what`` else."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain: {what}"
        time.sleep(_EVERY_S)
    return found
