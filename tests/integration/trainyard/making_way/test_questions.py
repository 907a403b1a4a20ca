"""Questions to a model slip in: one job makes way for all that wait, and has its slot back soon."""

from __future__ import annotations

import pytest

from tests.support.two_slots import SLOTS, TwoSlots
from trainyard.scheduling.estimate import estimate_now
from trainyard.scheduling.generations import TURN_S
from trainyard.scheduling.slots import SlotState
from worker.generation.turn import KEPT_FOR_S, KEPT_FROM_OTHERS_S, QuestionTurn


class Clock:
    """Time that passes when it is told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_one_job_makes_way_for_all_and_goes_on_before_what_waits(busy: TwoSlots) -> None:
    first, second = busy.ask(), busy.ask()
    busy.look()
    busy.look()
    assert busy.asked() == ["b"], "each takes seconds: one slot answers both"
    assert [busy.generations.who_makes_way(name) for name in (first, second)] == ["b", ""]
    busy.make_way("b")
    assert busy.reason("b") == "made way: a question to job made slips in; it goes on by itself"
    assert busy.take("box-1") == first
    turn = QuestionTurn(busy.dispatcher, "box-1")
    found = turn.take()
    assert found is not None and found[0] == second
    assert turn.take() is None
    busy.look()
    assert busy.asked() == []
    turn.end()
    assert busy.take("box-1") == "b", "c waits as before"
    assert busy.job("b").parked_at("box-1") == "b:1"


def test_a_stream_of_questions_starves_nobody(busy: TwoSlots) -> None:
    """One more comes than is answered each time; b makes way so often an hour and no more."""
    busy.redis.hset("trainyard:job:a", "priority", 0)  # it makes no way
    waiting = [busy.ask()]
    for _ in range(3):
        busy.look()
        assert busy.asked() == ["b"]
        busy.make_way("b")
        waiting.append(busy.ask())
        assert busy.take("box-1") == waiting.pop(0)
        QuestionTurn(busy.dispatcher, "box-1").end()
        assert busy.take("box-1") == "b"
    busy.look()
    assert busy.asked() == []
    assert busy.generations.waiting() == waiting


@pytest.mark.parametrize("priority", [0, 5])
def test_the_turn_of_questions_ends(busy: TwoSlots, priority: int) -> None:
    """While a training waits; which one is next, a short one or that which made way."""
    clock = Clock()
    busy.ask()
    busy.look()
    busy.make_way("b")
    assert busy.take("box-1") is not None
    if priority == 0:
        busy.submit("short", slip_in=True)
    turn = QuestionTurn(busy.dispatcher, "box-1", clock)
    assert not turn.is_over(0.0)
    clock.now_s = KEPT_FROM_OTHERS_S + 0.1
    assert turn.is_over(0.0)
    assert not turn.is_over(1.0), "one was answered since"
    clock.now_s = TURN_S + 0.1
    assert turn.is_over(clock.now_s)
    name = busy.ask()
    turn.end()
    assert busy.take("box-1") == ("short" if priority == 0 else "b")
    busy.queue.remove(name)


def test_a_job_that_cannot_have_the_slot_keeps_nobody_from_it(busy: TwoSlots) -> None:
    """It is of priority 0, and its host is away."""
    busy.ask()
    busy.look()
    busy.make_way("b")
    assert busy.take("box-1") is not None
    busy.submit("far", priority=0)
    busy.queue.remove("far:1")
    busy.redis.hset("trainyard:job:far", mapping={"home": "far", "checkpoint": "checkpoint-1"})
    busy.ask()
    QuestionTurn(busy.dispatcher, "box-1").end()
    assert busy.take("box-1") == "b"


def test_the_model_stays_while_no_training_waits(yard: TwoSlots) -> None:
    clock = Clock()
    turn = QuestionTurn(yard.dispatcher, "box-0", clock)
    clock.now_s = 10 * TURN_S
    assert not turn.is_over(clock.now_s - KEPT_FOR_S)
    assert turn.is_over(clock.now_s - KEPT_FOR_S - 0.1)
    yard.submit("a")
    assert turn.is_over(clock.now_s), "questions had the slot for long"
    turn.end()
    assert yard.take("box-0") == "a"
    yard.ask("box-1")
    assert turn.take() is None, "another slot's"
    yard.be("box-0", SlotState.DRAINED)
    assert turn.is_over(clock.now_s)


@pytest.mark.parametrize("hidden_by", ["a question to another slot", "one that is withdrawn"])
def test_no_question_hides_a_training_or_is_taken_for_one(yard: TwoSlots, hidden_by: str) -> None:
    clock = Clock()
    turn = QuestionTurn(yard.dispatcher, "box-0", clock)
    if hidden_by == "a question to another slot":
        yard.ask("box-1")
    else:
        yard.generations.let_go(yard.ask())  # its message is not taken out yet
    clock.now_s = TURN_S + 0.1
    assert not turn.is_over(clock.now_s)
    yard.submit("a")
    assert turn.is_over(clock.now_s)


def test_a_slot_that_answers_is_one_of_those_that_may(busy: TwoSlots) -> None:
    name = busy.ask("box-0")
    busy.look()
    assert busy.asked() == ["a"], "though b has more left"
    assert busy.generations.who_makes_way(name) == "a"
    other = busy.ask("box-1")
    busy.look()
    assert busy.asked() == ["a", "b"]
    busy.make_way("a")
    assert busy.take("box-0") == name
    busy.make_way("b")
    assert busy.take("box-1") == other


def test_while_a_slot_is_idle_nobody_is_asked(yard: TwoSlots) -> None:
    yard.submit("a")
    assert yard.take("box-0") == "a"
    yard.ask()
    yard.look()
    assert yard.asked() == []
    yard.ask("box-0")
    yard.look()
    assert yard.asked() == ["a"], "the idle one does not see its files"


def test_a_question_that_is_withdrawn_leaves_the_slot_to_the_long_one(busy: TwoSlots) -> None:
    name = busy.ask()
    busy.look()
    busy.generations.let_go(name)
    busy.queue.remove(name)
    busy.make_way("b")
    busy.look()
    assert busy.take("box-1") == "b"
    assert busy.asked() == []


def test_the_estimate_of_who_waits_behind_it_says_so(busy: TwoSlots) -> None:
    busy.redis.lpush("trainyard:durations", 20_000)
    busy.step("b", left_s=90)
    busy.step("a", left_s=1000)
    assert estimate_now(busy.store, SLOTS, 3).first(1) == [90.0]
    name = busy.ask()
    busy.redis.hset("trainyard:job:a", "priority", 0)
    busy.look()
    assert busy.asked() == ["b"]
    assert estimate_now(busy.store, SLOTS, 3).first(1) == [90.0 + TURN_S]
    busy.generations.let_go(name)
    assert estimate_now(busy.store, SLOTS, 3).first(1) == [90.0]
