"""What a keeper tells its supervisor over the lifeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Started:
    """The training process runs. ``at`` is ``time.monotonic()`` of the host.

    ``preloaded`` is False where it is a fresh interpreter. ``warm``: it was parked, and goes on.
    """

    pid: int
    at: float
    preloaded: bool
    warm: bool = False


@dataclass(frozen=True)
class Gone:
    """No process of the attempt is left.

    Exactly one of ``exit_code`` and ``signal`` is set where the training had started; ``error``
    says why it had not. ``killed_descendants`` counts processes, the training itself not among
    them, that were alive when the attempt ended. ``lease_expired``: it was killed since the
    supervisor had not renewed its lease.
    """

    exit_code: int | None
    signal: int | None
    killed_descendants: int
    error: str | None = None
    lease_expired: bool = False


@dataclass(frozen=True)
class Parked:
    """The training stays, without a supervisor, until it is resumed or given up.

    Closing the handle ends nothing any more.
    """


@dataclass(frozen=True)
class StillAlive:
    """Processes were killed seconds ago and are not dead (uninterruptible sleep).

    ``Gone`` follows when they are.
    """

    pids: tuple[int, ...]


@dataclass(frozen=True)
class Refused:
    """The slot process did not start the attempt; nothing of it runs."""

    reason: str


@dataclass(frozen=True)
class KeeperLost:
    """The connection ended without ``Gone``: ask ``wait_gone`` whether all is gone."""


Message = Started | Gone | Parked | StillAlive | Refused | KeeperLost


def parse_message(raw: dict[str, Any]) -> Message:
    """One line of the lifeline. Raises ValueError."""
    match raw:
        case {"started": pid, "at": at, "preloaded": preloaded}:
            return Started(pid, at, preloaded, raw.get("warm", False))
        case {"gone": True, "exit_code": code, "signal": signum, "killed_descendants": killed}:
            return Gone(code, signum, killed, raw["error"], raw["lease_expired"])
        case {"parked": True}:
            return Parked()
        case {"gone": False, "left": pids}:
            return StillAlive(tuple(pids))
        case {"refused": reason}:
            return Refused(reason)
    raise ValueError(f"the keeper sent {str(raw)[:200]!r}")
