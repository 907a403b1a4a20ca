"""Statuses of a job, one record each, from which sets, Lua tables, page and colours are made.

``tests/unit/trainyard/contract/test_statuses.py`` holds the page to it, which makes nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class JobStatus(StrEnum):
    """State of a job in the job store."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"


BackendStatus = Literal["running", "completed", "failed", "cancelled", "paused"]
"""What the backend takes in ``PATCH /status``: the statuses that are ``reported``."""
Button = Literal["pause", "resume", "cancel", "kill", "force-start", "head"]
Tone = Literal["calm", "running", "doubtful", "good", "bad"]


@dataclass(frozen=True)
class Status:
    """One status. ``reported``: the backend hears of it. ``occupying``: the job may hold a slot.
    ``terminal``: the job does not leave it by itself.

    ``colour`` is the command line's, ``tone`` the page's; ``buttons``: what the page offers then.
    """

    colour: str
    tone: Tone
    buttons: tuple[Button, ...]
    reported: bool = False
    occupying: bool = False
    terminal: bool = False


STATUSES: Mapping[JobStatus, Status] = {
    JobStatus.QUEUED: Status("blue", "calm", ("pause", "cancel", "head")),
    JobStatus.RUNNING: Status(
        "cyan", "running", ("pause", "cancel"), reported=True, occupying=True
    ),
    JobStatus.PAUSING: Status("magenta", "doubtful", ("cancel",), occupying=True),
    JobStatus.PAUSED: Status("magenta", "doubtful", ("resume", "cancel"), reported=True),
    JobStatus.CANCELLING: Status("magenta", "calm", ("kill",), occupying=True),
    JobStatus.CANCELLED: Status("yellow", "calm", ("force-start",), reported=True, terminal=True),
    JobStatus.COMPLETED: Status("green", "good", (), reported=True, terminal=True),
    JobStatus.FAILED: Status("red", "bad", ("force-start",), reported=True, terminal=True),
}


def _those(chosen: Callable[[Status], bool]) -> frozenset[JobStatus]:
    return frozenset(name for name, status in STATUSES.items() if chosen(status))


REPORTED = _those(lambda status: status.reported)
OCCUPYING = _those(lambda status: status.occupying)
TERMINAL = _those(lambda status: status.terminal)
ACTIVE = frozenset(STATUSES) - TERMINAL
