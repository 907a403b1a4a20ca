"""Protocol between a worker's processes: every message of every socket, and how it is written.

    supervisor ──────┐ slot socket                        control socket
                     ├────────────▶ slot process ◀──────────────────────┐
    worker's main ───┘ (listens under a name)                           │
    process                                                             │
                       lifeline                                         ▼   parking socket
    supervisor ◀──────────────────────────────────────────────────▶ keeper ───────────────▶ training

A message is one JSON line, ``{"op": name, field: value, ...}``; [descriptors] come along with it.

    slot socket      ─▶ StartAttempt [events]                  the connection becomes the lifeline,
                                                               unless StartRefused comes back
                     ─▶ WaitGone, ReleaseParked                ◀─ WhetherGone
    lifeline         ─▶ Terminate, Kill, SetLease, Park        ◀─ Started [output], StillAlive,
                                                                  Parked, Gone
    control socket   ─▶ Resume [lifeline, events]              ◀─ Parked, Resumed
    parking socket   ─▶ Resume [events]
    fork socket                                               ◀─ Fork [connection]

The last two are the training's (``tasks.parking``, ``tasks.fresh_process``): it reads the one
message and sends the other.

The output is one pipe for all attempts of a process: the keeper makes it, and hands each supervisor
its read end. What is printed while the training is parked stays there for the next one.

Resuming: the slot process keeps its copies of the two descriptors until the keeper has said
Resumed; if the keeper ends instead, the attempt starts cold with them. Of Parked the slot process
hears first: what a supervisor knows to be parked, it finds there.

The keeper loads this file, so it imports nothing that is not small.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from trainyard.contract.error_tree import TrainyardError


class ProtocolError(TrainyardError):
    """What came is no message that belongs there. Repeats no value of it: it may be secret."""


# ---------------------------------------------------------------- to the slot process


@dataclass(frozen=True)
class StartAttempt:
    """Start an attempt. ``env`` is set in its training process only.

    ``parked`` names the attempt of the same job that may still be parked here, to go on in its
    process; if it is not, the new one starts cold. ``entry`` (``module:function``) runs in the
    place of a training.
    """

    op: ClassVar = "start"
    attempt_id: str
    env: dict[str, str] = field(default_factory=dict)
    preload: bool = True
    parked: str | None = None
    entry: str | None = None


@dataclass(frozen=True)
class WaitGone:
    """Answer when no process of the attempt is left, or after ``timeout_s``."""

    op: ClassVar = "wait_gone"
    attempt_id: str
    timeout_s: float


@dataclass(frozen=True)
class ReleaseParked:
    """End the attempt if it is parked, or when it parks; answer as to :class:`WaitGone`."""

    op: ClassVar = "release"
    attempt_id: str
    timeout_s: float


AnyRequest = StartAttempt | WaitGone | ReleaseParked


@dataclass(frozen=True)
class WhetherGone:
    """Answer to WaitGone and ReleaseParked: whether no process of the attempt is left."""

    op: ClassVar = "whether_gone"
    gone: bool


# ---------------------------------------------------------------- supervisor to keeper


@dataclass(frozen=True)
class Terminate:
    """Pass SIGTERM on to the training process."""

    op: ClassVar = "terminate"


@dataclass(frozen=True)
class Kill:
    """SIGKILL for the training and every descendant."""

    op: ClassVar = "kill"


@dataclass(frozen=True)
class SetLease:
    """Kill everything unless another lease comes within ``lease_s``; None: there is no end."""

    op: ClassVar = "lease"
    lease_s: float | None


@dataclass(frozen=True)
class Park:
    """The training waits in its callback: keep it for ``seconds``, without a supervisor."""

    op: ClassVar = "park"
    seconds: float


ToKeeper = Terminate | Kill | SetLease | Park


# ---------------------------------------------------------------- to the supervisor


@dataclass(frozen=True)
class StartRefused:
    """The slot process did not start the attempt, or did not understand; nothing of it runs."""

    op: ClassVar = "refused"
    reason: str


@dataclass(frozen=True)
class Started:
    """The training process runs. ``at`` is ``time.monotonic()`` of the host.

    ``preloaded`` is False for a fresh interpreter. ``warm``: it was parked, and goes on. The read
    end of its output comes along.
    """

    op: ClassVar = "started"
    pid: int
    at: float
    preloaded: bool
    warm: bool = False


@dataclass(frozen=True)
class StillAlive:
    """Processes were killed seconds ago and are not dead (uninterruptible sleep).

    ``Gone`` follows when they are.
    """

    op: ClassVar = "still_alive"
    pids: list[int]


@dataclass(frozen=True)
class Parked:
    """The training stays, without a supervisor, until it is resumed or given up.

    Closing the lifeline ends nothing any more.
    """

    op: ClassVar = "parked"


@dataclass(frozen=True)
class Gone:
    """No process of the attempt is left.

    Exactly one of ``exit_code`` and ``signal`` is set if the training had started; ``error``
    says why it had not. ``killed_descendants`` counts processes, the training itself not among
    them, that were alive when the attempt ended. ``lease_expired``: it was killed since the
    supervisor had not renewed its lease; ``slot_gone``: since the slot process had ended.
    """

    op: ClassVar = "gone"
    exit_code: int | None
    signal: int | None
    killed_descendants: int
    error: str | None = None
    lease_expired: bool = False
    slot_gone: bool = False


FromKeeper = StartRefused | Started | StillAlive | Parked | Gone
"""What comes over the lifeline. StartRefused is the slot process's: there is no keeper then."""


# ---------------------------------------------------------------- slot process, keeper, training


@dataclass(frozen=True)
class Resume:
    """The parked training goes on as the attempt ``attempt_id``, over this event channel."""

    op: ClassVar = "resume"
    attempt_id: str


@dataclass(frozen=True)
class Resumed:
    """The keeper has taken a Resume over."""

    op: ClassVar = "resumed"


@dataclass(frozen=True)
class Fork:
    """The training wants a process of its kind that has done nothing yet, for this connection."""

    op: ClassVar = "fork"


AnyMessage = AnyRequest | WhetherGone | ToKeeper | FromKeeper | Resume | Resumed | Fork
_HINTS = {kind: get_type_hints(kind) for kind in get_args(AnyMessage)}
_KINDS = {kind.op: kind for kind in _HINTS}


def encode(message: AnyMessage) -> bytes:
    """The message as a line."""
    return json.dumps({"op": message.op, **vars(message)}, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> AnyMessage:
    """The message that the line is. Raises ProtocolError."""
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("not a line of JSON") from None
    kind = _KINDS.get(str(raw.pop("op", ""))) if isinstance(raw, dict) else None
    if kind is None:
        raise ProtocolError("not a message of this protocol")
    wrong = [name for name in raw if not _fits(raw[name], _HINTS[kind].get(name, ()))]
    if wrong:
        raise ProtocolError(f"{kind.op}: wrong {', '.join(wrong)}")
    try:
        message: AnyMessage = kind(**raw)
    except TypeError as error:  # a field is missing
        raise ProtocolError(f"{kind.op}: {error}") from None
    return message


def _fits(value: Any, hint: Any) -> bool:
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return any(
        isinstance(value, int | float if kind is float else get_origin(kind) or kind)
        for kind in kinds
    )
