"""Desk of a peer: the process that submits, cancels and asks, with that peer's own library.

It runs in the peers' environment. One JSON line a call on its input, ``["submit", {...}]``; one a
reply on its output, ``{"answer": ...}`` or ``{"error": "..."}``. Whatever the library prints goes
to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Protocol


class Desk(Protocol):
    """Calls of one peer's library; a job is called by its name."""

    def ready(self) -> bool:
        """Whether a worker waits for jobs."""

    def submit(self, spec: dict[str, Any]) -> None:
        """Queue a job."""

    def cancel(self, name: str) -> None:
        """Ask for a job's end, by force where the library has such a call."""

    def says(self, name: str) -> str:
        """The library's own word for the job's state."""


def serve(make: type[Desk]) -> None:
    """Answer calls until the input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    desk: Desk | None = None
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            desk = desk or make()
            reply = {"answer": getattr(desk, name)(*arguments)}
        except Exception as problem:
            reply = {"error": f"{type(problem).__name__}: {problem}"}
        replies.write(json.dumps(reply) + "\n")
