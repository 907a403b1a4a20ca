"""Cursors of a job's delivery: how far each of its lanes is, in ``delivery:{id}``.

A lane (statuses; metrics; log lines; predictions) has its own position in the job's stream and its
own due time, so that one which the backend does not take keeps back no other. ``state`` is one JSON
field; the due times stand beside it (``status_due``, ...): Redis decides by them when a sender is
woken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from pydantic import TypeAdapter

from trainyard.contract.events import LaneName
from trainyard.store.event_log import entry_position

LANES: tuple[LaneName, ...] = get_args(LaneName)

DELAY_MAX_S = 900.0
"""No delay of the delivery is longer: a due time beyond it is of a clock that was set back since,
and is now (``wake_sender`` and the outbox's scripts)."""
BODY_BYTES_MAX = 65_536
"""Of log lines or points in one request, as JSON: some frameworks refuse a body of 100 kB."""


@dataclass
class Lane:
    """``position``: every entry of this lane up to that stream id is handled. ``due_ms``: it is not
    tried before (Redis's clock). ``failing``: the entry that the backend did not take, "" if none;
    ``failures``: how often in a row. ``done``: entries delivered or set aside.

    ``refusal``: since the last acceptance it was ``refused`` (401, 404); another lane was accepted
    since, so that its route is ``doubted``; the route is ``missing`` (405, or 404 when doubted).
    """

    position: str = "0-0"
    due_ms: int = 0
    failing: str = ""
    failures: int = 0
    refusal: Literal["", "refused", "doubted", "missing"] = ""
    done: int = 0

    def accepted(self) -> None:
        """The backend took, or finally refused, what was tried: nothing is in its way any more."""
        self.due_ms, self.failing, self.failures, self.refusal = 0, "", 0, ""

    def is_behind(self, entry_id: str) -> bool:
        """Whether an entry of this lane is still to be handled."""
        return entry_position(entry_id) > entry_position(self.position)


@dataclass
class Gap:
    """A line about cut lines that is under way: the same at every try. ``to``: the next line."""

    key: str
    line: str
    to: int


@dataclass
class Points:
    """Points that go out many at a time. ``to``: the last entry of a request that is under way,
    the same at every try; ``unsure``: one of them may have arrived. ``single_to``: up to it they go
    one by one; ``doubted``: the route was not found a moment ago, and whether a single point is
    taken now tells if it is missing.
    """

    to: str = ""
    unsure: bool = False
    single_to: str = "0-0"
    doubted: bool = False


@dataclass
class Row:
    """The job's row at the backend. ``wanted``: it is to be told what is known of the job;
    ``status``: the last that it took; ``lane``: when, and what became of the last try.
    """

    wanted: bool = False
    status: str = ""
    lane: Lane = field(default_factory=Lane)


@dataclass
class DeliveryProgress:
    """``next_line``: number of the next log line. ``part``: how many lines of an entry that is sent
    again have arrived. ``body_bytes``: what this backend takes of log lines or points at a time.
    ``heard``: something of the job was accepted. ``ended_attempt``: the last one whose terminal
    status was.
    """

    status: Lane = field(default_factory=Lane)
    metric: Lane = field(default_factory=Lane)
    log: Lane = field(default_factory=Lane)
    prediction: Lane = field(default_factory=Lane)
    points: Points = field(default_factory=Points)
    row: Row = field(default_factory=Row)
    next_line: int = 0
    gap: Gap | None = None
    part: int = 0
    body_bytes: int = BODY_BYTES_MAX
    heard: bool = False
    ended_attempt: int = 0
    last_error: str = ""

    def lane(self, name: LaneName) -> Lane:
        found: Lane = getattr(self, name)
        return found

    @property
    def lanes(self) -> Iterator[Lane]:
        return map(self.lane, LANES)

    def to_hash(self) -> dict[str, str]:
        """Fields of the hash; "" for one that is not to be there."""
        due = {f"{name}_due": str(self.lane(name).due_ms or "") for name in LANES}
        without = {name: {"due_ms"} for name in LANES}
        state = _STATE.dump_json(self, exclude=without, exclude_defaults=True)  # type: ignore[arg-type]  # a nested one
        return {"state": state.decode(), **due}


_STATE = TypeAdapter(DeliveryProgress)


def read_progress(raw: Mapping[str, str]) -> DeliveryProgress:
    """The progress that a delivery hash holds, also one of a version with a single cursor."""
    if "state" not in raw:
        return _of_one_cursor(raw)
    progress = _STATE.validate_json(raw["state"])
    for name in LANES:
        progress.lane(name).due_ms = int(raw.get(f"{name}_due") or 0)
    return progress


def _of_one_cursor(raw: Mapping[str, str]) -> DeliveryProgress:
    """Up to 0.1: a cursor for all kinds, and beyond it what each kind has handled."""
    cursor = raw.get("cursor") or "0-0"

    def lane(name: LaneName) -> Lane:
        position = max(cursor, raw.get(f"ahead_{name}") or "0-0", key=entry_position)
        refusal: Literal["", "missing"] = "missing" if raw.get(f"missing_{name}") else ""
        due_ms, done = number(f"later_{name}"), number(f"done_{name}")
        return Lane(position=position, due_ms=due_ms, refusal=refusal, done=done)

    def number(name: str) -> int:
        return int(raw.get(name) or 0)

    set_aside, next_line = number("set_aside"), number("next_line")
    delivered = number("done_status") + number("done_metric") - set_aside
    return DeliveryProgress(
        status=lane("status"),
        metric=lane("metric"),
        log=lane("log"),
        prediction=lane("prediction"),
        next_line=next_line,
        gap=TypeAdapter(Gap).validate_json(raw["gap"]) if raw.get("gap") else None,
        heard=delivered > 0 or (next_line > 0 and not set_aside),
        ended_attempt=number("ended_attempt"),
        last_error=raw.get("last_error", ""),
    )


OF_ONE_CURSOR = (
    *("cursor", "next_line", "gap", "batch_to", "access_failures", "ended_attempt", "last_error"),
    *("soft", "set_aside", "written_status", "written_phase", "written_checkpoint"),
    *("written_receipt", "written_prediction", "written_divergence"),
    *(
        f"{name}_{lane}"
        for name in ("ahead", "later", "missing", "failures", "done")
        for lane in LANES
    ),
)
"""Fields of such a hash, which go once it was read."""
