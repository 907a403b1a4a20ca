"""The lease at the keeper's end: it ends what a supervisor forgot, and nothing that was frozen."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from worker.slot_process import lifeline as module
from worker.slot_process.lifeline import Lifeline


class Hand:
    """The hand of a clock that a test moves."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def monotonic(self) -> float:
        return self.at_s


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(module, "time", hand)
    return hand


@pytest.fixture
def lifeline(hand: Hand) -> Iterator[Lifeline]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        lifeline = Lifeline(ours)
        lifeline.renew(4)
        yield lifeline
        lifeline.close()


def test_a_keeper_that_was_awake_sees_the_end(lifeline: Lifeline, hand: Hand) -> None:
    hand.at_s += 3.9
    assert not lifeline.expired()
    hand.at_s += 0.2
    assert lifeline.expired()


def test_ten_freezes_of_everything_end_nothing(lifeline: Lifeline, hand: Hand) -> None:
    for _ in range(10):
        hand.at_s += 8
        assert not lifeline.expired()
        lifeline.renew(4)


def test_after_a_freeze_the_supervisor_has_seconds_to_vouch_again(
    lifeline: Lifeline, hand: Hand
) -> None:
    hand.at_s += 60
    assert not lifeline.expired()
    assert lifeline.lease_ends is not None
    hand.at_s = lifeline.lease_ends + 0.1
    assert lifeline.expired()
