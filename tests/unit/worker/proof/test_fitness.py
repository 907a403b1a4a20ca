"""A slot proves itself before it takes jobs, and is out of service while it cannot."""

from __future__ import annotations

import pytest

from worker.doubt import Doubt
from worker.proof.fitness import TRUSTED_AFTER_S, Fitness
from worker.proof.probe import ProbeEnd


class Trial:
    """A probe that ends as the test says."""

    def __init__(self) -> None:
        self.end: ProbeEnd | None = None
        self.closed = False
        self.slot_process_lives = True

    def look(self) -> ProbeEnd | None:
        return self.end if self.slot_process_lives else ProbeEnd("the slot process ended")

    def slot_process_died(self) -> None:
        self.slot_process_lives = False

    def close(self) -> None:
        self.closed = True


class Slot:
    """A slot under test; ``said``: what was said of it, the newest last."""

    def __init__(self) -> None:
        self.doubt = Doubt()
        self.trials: list[Trial] = []
        self.said: list[str | None] = []
        self.redis_answers = True
        self.fitness = Fitness(self._probe, self.doubt, self._say)

    def _probe(self) -> Trial:
        self.trials.append(Trial())
        return self.trials[-1]

    def _say(self, reason: str | None) -> bool:
        if self.redis_answers:
            self.said.append(reason)
        return self.redis_answers

    def round(self, now: float, trouble: str | None = None) -> bool:
        """A round, in which the probe that runs ends so (None: it runs on); whether it is fit."""
        if trouble is not None:
            self.trials[-1].end = ProbeEnd(trouble)
        self.fitness.round(now)
        return self.fitness.fit


@pytest.fixture
def slot() -> Slot:
    return Slot()


def test_it_takes_jobs_when_its_probe_has_succeeded(slot: Slot) -> None:
    assert not slot.round(0)
    assert not slot.round(1)
    assert slot.said == []
    assert slot.round(2, "")
    assert slot.said == [None]
    assert slot.trials[0].closed
    assert slot.round(3)
    assert len(slot.trials) == 1


def test_one_that_cannot_says_why_and_tries_ever_later(slot: Slot) -> None:
    now, gaps = 0.0, []
    for n in range(9):
        began = now
        while len(slot.trials) == n:
            slot.round(now)
            now += 0.5
        gaps.append(now - 0.5 - began)
        assert not slot.round(now, "its GPU is gone")
    assert gaps == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert set(slot.said) == {"its GPU is gone"}
    while not slot.fitness.is_probing:
        slot.round(now)
        now += 0.5
    assert slot.round(now, "")
    assert slot.said[-1] is None


def test_a_loss_takes_no_job_before_the_next_proof(slot: Slot) -> None:
    slot.round(0)
    assert slot.round(1, "")
    slot.doubt.lost()
    assert not slot.round(2)
    assert slot.fitness.is_probing
    assert slot.round(3, "")
    assert slot.said == [None, None]


def test_a_row_of_losses_takes_it_out_though_its_probes_succeed(slot: Slot) -> None:
    slot.round(0)
    slot.round(1, "")
    now = 2.0
    waits = []
    for _ in range(5):
        slot.doubt.lost()
        lost_at = now
        while not slot.fitness.is_probing:
            slot.round(now)
            now += 0.5
        waits.append(now - 0.5 - lost_at)
        assert slot.round(now, "")
    assert waits == [0, 0, 2, 4, 8]
    reasons = [said for said in slot.said if said]
    assert reasons[0].startswith("it lost 3 attempts or slot processes in a row; it tries again in")
    assert slot.said[-1] is None
    slot.doubt.trusted()
    slot.doubt.lost()
    slot.round(now)
    assert slot.fitness.is_probing, "an attempt that ended well ends the row"


def test_a_long_time_without_a_loss_ends_the_row_too(slot: Slot) -> None:
    slot.round(0)
    slot.round(1, "")
    slot.doubt.lost()
    slot.round(2)
    slot.round(3, "")
    slot.round(3 + TRUSTED_AFTER_S + 1)
    assert slot.doubt.losses == 0


def test_a_slot_process_that_died_is_one_loss_whatever_it_took_along(slot: Slot) -> None:
    slot.fitness.slot_process_died(busy=True)
    assert slot.doubt.losses == 0, "the attempt says so itself"
    slot.fitness.slot_process_died(busy=False)
    assert slot.doubt.losses == 1
    slot.round(0)
    slot.round(0)
    assert slot.fitness.is_probing
    slot.fitness.slot_process_died(busy=False)
    assert slot.doubt.losses == 1, "the probe that ran fails"
    slot.round(1)
    assert slot.said == ["the slot process ended"]
    assert not slot.fitness.may_start_slot_process(1)


def test_what_redis_did_not_hear_is_said_again(slot: Slot) -> None:
    slot.redis_answers = False
    slot.round(0)
    assert slot.round(1, "")
    slot.redis_answers = True
    slot.round(2)
    slot.round(3)
    assert slot.said == [None]
