"""Kills without number: whatever a training has made of itself, a second later nobody is left."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process_tree import Attempt, OpenSlot, Slot, slots
from worker.machine.process_tree import children_of

KILLS, MANY_KILLS = 20, 1000
GONE_WITHIN_S = 1.0
"""After a kill. The quick form shares its processors with other tests, and gives more."""
PATIENCE_S = 10.0


@pytest.fixture
def slot_of(tmp_path: Path) -> Iterator[OpenSlot]:
    with slots(tmp_path, "stubborn_training:main") as open_one:
        yield open_one


def by_order(slot: Slot, attempt: Attempt) -> None:
    attempt.handle.kill()


def after_terminate(slot: Slot, attempt: Attempt) -> None:
    attempt.handle.terminate()
    attempt.handle.kill()


def by_the_end_of_the_supervisor(slot: Slot, attempt: Attempt) -> None:
    attempt.handle.close()


def by_the_lease(slot: Slot, attempt: Attempt) -> None:
    attempt.handle.set_lease(0.001)


def of_the_training(slot: Slot, attempt: Attempt) -> None:
    os.kill(attempt.training_pid, signal.SIGKILL)


def of_the_keeper(slot: Slot, attempt: Attempt) -> None:
    os.kill(attempt.keeper_pid, signal.SIGKILL)


def of_the_slot_process(slot: Slot, attempt: Attempt) -> None:
    os.kill(slot.pid, signal.SIGKILL)


KINDS = [
    *(by_order, after_terminate, by_the_end_of_the_supervisor, by_the_lease),
    *(of_the_training, of_the_keeper, of_the_slot_process),
]


def gone_after_s(attempt: Attempt, limit_s: float) -> float:
    """Seconds until the kernel says that the last one is dead.

    Who closed the output holds the channel of the events, unless it has become another program.
    """
    began = time.monotonic()
    waiting = {attempt.output.read_fd, attempt.events.fileno()}
    while waiting:
        left_s = began + limit_s - time.monotonic()
        assert left_s > 0, f"somebody lives after {limit_s:g} s"
        for fd in select.select(waiting, [], [], left_s)[0]:
            if not os.read(fd, 65536):
                waiting.remove(fd)
    return time.monotonic() - began


def kill_many(open_slot: OpenSlot, count: int, limit_s: float, seed: int) -> dict[str, float]:
    """``count`` kills of families drawn from ``seed``; the longest time of each kind, in s."""
    slot = open_slot()
    longest: dict[str, float] = {}
    for number in range(count):
        kill = KINDS[number % len(KINDS)]
        attempt = slot.start("grow_family", SEED=str(seed + number))
        assert attempt.training_pid
        rng = random.Random(seed + number)
        if rng.random() < 0.8:
            attempt.output.wait_for("ready")
        time.sleep(rng.uniform(0, 0.02))
        kill(slot, attempt)
        try:
            took_s = gone_after_s(attempt, limit_s)
        except AssertionError as error:
            raise AssertionError(f"seed {seed + number}, {kill.__name__}: {error}") from None
        longest[kill.__name__] = max(longest.get(kill.__name__, 0.0), took_s)
        if kill is of_the_slot_process:
            slot = open_slot()
        else:
            assert slot.wait_gone(attempt)
            assert children_of(slot.pid) == []
        attempt.close()
    return longest


def test_nobody_is_left(slot_of: OpenSlot) -> None:
    kill_many(slot_of, KILLS, PATIENCE_S, seed=0)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_nobody_is_left_of_a_thousand(slot_of: OpenSlot) -> None:
    print(kill_many(slot_of, MANY_KILLS, GONE_WITHIN_S, seed=int(time.time())))
