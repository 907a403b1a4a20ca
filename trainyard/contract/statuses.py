"""Statuses of a job, one record each, from which sets, Lua tables, buttons and colours are made.

The page's CSS is written by hand: ``tests/unit/trainyard/contract/test_statuses.py`` compares it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
Button = Literal["pause", "resume", "cancel", "kill", "force-start", "head", "delete"]
WITHOUT_BRIDGE: tuple[Button, ...] = ("delete",)
"""What the page offers while the bridge is away or does not know the job."""
OpenAiStatus = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
Tone = Literal["calm", "running", "doubtful", "good", "bad"]


@dataclass(frozen=True)
class Status:
    """One status. ``reported``: the backend hears of it. ``occupying``: the job may hold a slot.
    ``terminal``: the job does not leave it by itself.

    ``colour`` is the command line's, ``tone`` the page's; ``buttons``: what the page offers then.
    ``openai``: its name in OpenAI's API, in which what is asked of a job has not happened yet.
    """

    openai: OpenAiStatus
    colour: str
    tone: Tone
    buttons: tuple[Button, ...]
    reported: bool = False
    occupying: bool = False
    terminal: bool = False


STATUSES: Mapping[JobStatus, Status] = {
    JobStatus.QUEUED: Status("queued", "blue", "calm", ("pause", "cancel", "head")),
    JobStatus.RUNNING: Status(
        "running", "cyan", "running", ("pause", "cancel"), reported=True, occupying=True
    ),
    JobStatus.PAUSING: Status("running", "magenta", "doubtful", ("cancel",), occupying=True),
    JobStatus.PAUSED: Status("paused", "magenta", "doubtful", ("resume", "cancel"), reported=True),
    JobStatus.CANCELLING: Status("running", "magenta", "calm", ("kill",), occupying=True),
    JobStatus.CANCELLED: Status(
        "cancelled", "yellow", "calm", ("force-start", "delete"), reported=True, terminal=True
    ),
    JobStatus.COMPLETED: Status(
        "succeeded", "green", "good", ("delete",), reported=True, terminal=True
    ),
    JobStatus.FAILED: Status(
        "failed", "red", "bad", ("force-start", "delete"), reported=True, terminal=True
    ),
}


def _those(chosen: Callable[[Status], bool]) -> frozenset[JobStatus]:
    return frozenset(name for name, status in STATUSES.items() if chosen(status))


REPORTED = _those(lambda status: status.reported)
OCCUPYING = _those(lambda status: status.occupying)
TERMINAL = _those(lambda status: status.terminal)
RESUMABLE = _those(lambda status: "resume" in status.buttons)
RESTARTABLE = _those(lambda status: "force-start" in status.buttons)
ACTIVE = frozenset(STATUSES) - TERMINAL
_OF_A_GROUP = (
    *("running", "pausing", "cancelling", "queued", "paused"),
    *("completed", "failed", "cancelled"),
)


def group_status(statuses: Collection[str]) -> JobStatus:
    """The state of a group of jobs: what they are doing, or how the best of them ended."""
    return JobStatus(next((name for name in _OF_A_GROUP if name in statuses), "cancelled"))
