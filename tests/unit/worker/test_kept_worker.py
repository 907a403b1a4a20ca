"""A worker that dies or falls silent is started again, later each time, and named at last."""

from __future__ import annotations

from typing import Any

import pytest

from trainyard.scheduling.slots import Slot, SlotState
from worker.kept_worker import (
    BACKOFF_MAX_S,
    FAILURES_UNTIL_OUT,
    LOOKS_UNTIL_SILENT,
    START_GRACE_S,
    WELL_AFTER_S,
    KeptWorker,
)

WELL = Slot("box-0", {})
SILENT = Slot("box-0", {}, SlotState.SILENT, 20)
NOT_BEGUN = Slot("box-0", {}, SlotState.SILENT, None)
DRAINED = Slot("box-0", {}, SlotState.DRAINED)
STOP_S = 30.0


class Child:
    """A child process that does what the test says."""

    name, returncode = "worker of slot box-0", 1

    def __init__(self) -> None:
        self.pid: int | None = 1
        self.done: list[str] = []

    def start(self) -> None:
        self.pid = 1
        self.done.append("start")

    def terminate(self) -> None:
        self.done.append("terminate")

    def kill(self) -> None:
        self.pid = None
        self.done.append("kill")


@pytest.fixture
def child() -> Child:
    return Child()


@pytest.fixture
def kept(child: Any) -> KeptWorker:
    return KeptWorker("box-0", child, 0.0, STOP_S)


def died(kept: KeptWorker, child: Child, now: float) -> tuple[float, str | None]:
    """Let it die at ``now``; how long until it was started again, and what was said."""
    child.pid = None
    said, waited = kept.keep(now), 0.0
    while child.pid is None:
        waited += 0.5
        kept.keep(now + waited)
    return waited, said


def test_each_time_later_and_named_at_last(kept: KeptWorker, child: Child) -> None:
    now, waits, said = 2.0, [], []
    for _ in range(9):
        waited, reason = died(kept, child, now)
        waits.append(waited)
        said.append(reason)
        now += waited + 1
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert waits[-1] == BACKOFF_MAX_S
    assert said[: FAILURES_UNTIL_OUT - 1] == [None] * (FAILURES_UNTIL_OUT - 1)
    assert (
        said[-1] == "its worker ended with exit code 1, 9 times in a row; the workers' log says why"
    )
    kept.look(WELL, now + WELL_AFTER_S)
    assert died(kept, child, now + WELL_AFTER_S + 1) == (1, None)


@pytest.mark.parametrize(
    ("seen", "at_s", "ended"),
    [
        (SILENT, 1000, True),
        (SILENT, 5, True),
        (NOT_BEGUN, START_GRACE_S - 1, False),
        (NOT_BEGUN, START_GRACE_S + 1, True),
        (DRAINED, 1000, False),
        (None, 1000, False),
        (WELL, 1000, False),
    ],
)
def test_who_is_ended(
    kept: KeptWorker, child: Child, seen: Slot | None, at_s: float, ended: bool
) -> None:
    for _ in range(LOOKS_UNTIL_SILENT - 1):
        kept.look(seen, at_s)
    assert child.done == []
    kept.look(seen, at_s)
    assert child.done == ["terminate"] * ended


def test_one_that_does_not_end_is_killed_and_started_again(kept: KeptWorker, child: Child) -> None:
    for _ in range(10):
        kept.look(SILENT, 100)
    kept.keep(100 + STOP_S - 1)
    assert child.done == ["terminate"]
    kept.keep(100 + STOP_S)
    kept.keep(100 + STOP_S)
    kept.keep(100 + STOP_S + 1)
    assert child.done == ["terminate", "kill", "start"]
    kept.look(SILENT, 200)
    assert child.done[-1] == "start", "it is counted anew"


def test_a_stamp_in_between_is_a_worker_that_lives(kept: KeptWorker, child: Child) -> None:
    for _ in range(5):
        for _ in range(LOOKS_UNTIL_SILENT - 1):
            kept.look(SILENT, 100)
        kept.look(WELL, 100)
    assert child.done == []
