"""Slip-ins on a real Redis and its broker: who is asked, how often, and in which order they run."""

from __future__ import annotations

import pytest

from backend_bridge.reaper import Reaper
from tests.support.requests import start_request
from tests.support.two_slots import SLOTS, TwoSlots
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.estimate import estimate_now
from trainyard.scheduling.queue import keys_of, slot_queue
from trainyard.scheduling.slots import SlotState
from trainyard.store.job_reads import SLIP_INS_READ


def test_it_slips_in_and_the_long_one_goes_on_before_those_that_wait(busy: TwoSlots) -> None:
    busy.submit("short", slip_in=True)
    busy.look()
    assert busy.asked() == ["b"]
    assert "slips in: job b makes way" in busy.reason("short")
    busy.look()
    assert busy.asked() == ["b"], "asked once"
    busy.make_way("b")
    assert busy.reason("b") == "made way: job short slips in; it goes on by itself"
    assert busy.take("box-1") == "short"
    busy.look()
    assert busy.store.complete("short", 1, {})
    assert busy.take("box-1") == "b", "c waits as before"
    assert busy.job("b").parked_at("box-1") == "b:1"


def test_of_very_many_the_oldest_are_read(busy: TwoSlots) -> None:
    busy.submit("first", slip_in=True)
    for number in range(SLIP_INS_READ):
        busy.submit(f"s{number}", slip_in=True)
        busy.redis.hincrby(f"trainyard:job:s{number}", "created_at", 1 + number)
    read = [job.job_id for job in busy.store.slip_ins()]
    assert read == ["first", *(f"s{number}" for number in range(SLIP_INS_READ - 1))]
    busy.look()
    assert busy.job("first").slips_before == "b:1"


def test_while_a_slot_is_idle_nobody_is_asked(yard: TwoSlots) -> None:
    yard.submit("a")
    assert yard.take("box-0") == "a"
    yard.submit("short", slip_in=True)
    yard.look()
    assert yard.asked() == []
    yard.submit("another", slip_in=True)
    yard.look()
    assert yard.asked() == ["a"], "one of two finds a slot"
    yard.be("box-1", SlotState.DRAINED)
    yard.look()
    assert yard.asked() == ["a"]


def test_two_short_ones_ask_two_jobs_and_a_third_waits(busy: TwoSlots) -> None:
    for job_id in ("one", "two", "three"):
        busy.submit(job_id, slip_in=True)
    busy.look()
    assert busy.asked() == ["a", "b"]
    for job_id in ("a", "b"):
        busy.make_way(job_id)
    assert {busy.take("box-0"), busy.take("box-1")} <= {"one", "two", "three"}
    busy.look()
    assert busy.asked() == [], "nobody makes way for one by ending another"


def test_one_that_is_cancelled_before_it_starts_leaves_the_slot_to_the_long_one(
    busy: TwoSlots,
) -> None:
    busy.submit("short", slip_in=True)
    busy.look()
    assert busy.store.cancel("short") is not None
    busy.queue.remove("short:1")
    busy.make_way("b")
    busy.look()
    assert busy.take("box-1") == "b"
    assert busy.asked() == []


@pytest.mark.parametrize("wish", ["pause", "cancel"])
def test_when_a_person_takes_the_long_one_away_the_slot_is_free(busy: TwoSlots, wish: str) -> None:
    busy.submit("short", slip_in=True)
    busy.look()
    getattr(busy.store, wish)("b")
    busy.look()
    assert busy.asked() in ([], ["b"]), "its slot is about to be free: nobody else is asked"
    end = {"pause": lambda: busy.store.paused("b", 1, {}), "cancel": None}[wish]
    assert end() if end else busy.store.cancelled("b", 1)
    assert busy.take("box-1") == "short"


def test_a_long_one_whose_worker_died_goes_on_after_the_short_one(busy: TwoSlots) -> None:
    busy.submit("short", slip_in=True)
    busy.look()
    assert busy.store.lost("b", 1, "Its supervisor was killed.") is JobStatus.QUEUED
    busy.dispatcher.send("b", at_head=True)
    busy.look()
    assert busy.asked() == []
    assert (busy.take("box-1"), busy.job("b").ways_made) == ("short", 0)
    assert busy.store.complete("short", 1, {})
    assert busy.take("box-1") == "b"


def test_a_redis_that_lost_its_messages_loses_no_job(busy: TwoSlots) -> None:
    busy.submit("short", slip_in=True)
    busy.look()
    busy.make_way("b")
    for queue in ("gpu", *map(slot_queue, SLOTS)):
        busy.redis.delete(*keys_of(queue))
    reaper = Reaper(busy.dispatcher)
    for _ in range(3):
        reaper.send_again()
    assert [busy.take("box-1") for _ in range(3)] == ["short", "b", "c"]


def test_what_is_bound_to_a_host_slips_in_there(busy: TwoSlots) -> None:
    busy.dispatcher.slots.beat("far-0", {"gpus": [], "home": "far"})
    busy.dispatcher.slots.stamp("far-0", SlotState.CONSUMING)
    busy.submit("distant")
    assert busy.take("far-0") in ("c", "distant")
    busy.store.admit(start_request("short", slip_in=True), slots=3)
    key = "trainyard:job:short"
    busy.redis.hset(key, mapping={"home": "h", "home_host": "box", "checkpoint": "c/checkpoint-1"})
    busy.dispatcher.send("short")
    busy.look()
    assert busy.asked() == ["b"]
    busy.make_way("b")
    assert busy.take("box-1") == "short", "its message waits where its slot will be free"


def test_a_job_makes_way_so_often_an_hour_and_no_more(busy: TwoSlots) -> None:
    busy.store.cancel("a")
    assert busy.store.cancelled("a", 1) and busy.take("box-0") == "c"
    busy.redis.hset("trainyard:job:c", "priority", 0)  # it comes first itself
    for number in range(4):
        busy.submit(f"short-{number}", slip_in=True)
        busy.look()
        assert busy.asked() == (["b"] if number < 3 else [])
        if number < 3:
            busy.make_way("b")
            assert busy.take("box-1") == f"short-{number}"
            assert busy.store.complete(f"short-{number}", 1, {})
            assert busy.take("box-1") == "b"


def test_an_idle_slot_takes_what_waits_for_one_that_is_busy(busy: TwoSlots) -> None:
    busy.submit("short", slip_in=True)
    busy.look()
    busy.make_way("b")
    assert busy.take("box-1") == "short"
    for job_id in ("c", "a"):
        busy.store.cancel(job_id)
    busy.queue.remove("c:1")
    assert busy.store.cancelled("a", 1)
    assert busy.take("box-0") is None, "it waits for its own"
    busy.look()
    busy.look()
    assert busy.take("box-0") == "b"
    assert busy.job("b").parked_at("box-0") is None, "from its checkpoint"


def test_everybody_s_estimate_says_so(busy: TwoSlots) -> None:
    durations = [20_000]
    busy.redis.lpush("trainyard:durations", *durations)
    assert estimate_now(busy.store, SLOTS, 3).first(1) == [100.0], "c, after a"
    busy.submit("short", slip_in=True)
    assert estimate_now(busy.store, SLOTS, 0).first(2) == [100.0, 120.0], "it is turned off"
    # A step of b takes 10 s, and the look a second; b ends later, and so may what waits for it.
    assert estimate_now(busy.store, SLOTS, 3).first(2) == [11.0, 100.0]
    busy.look()
    assert estimate_now(busy.store, SLOTS, 3).first(2) == [11.0, 100.0]
    busy.step("a", left_s=1015)
    assert estimate_now(busy.store, SLOTS, 3).first(2) == [11.0, 1015.0]
    busy.make_way("b")
    assert busy.take("box-1") == "short"
    assert estimate_now(busy.store, SLOTS, 3).first(1) == [100.0], "b goes on after it"


def test_while_all_rest_each_is_waited_for_and_then_any_slot_may(busy: TwoSlots) -> None:
    """Outside of the hours: what is parked waits for its own slot, and nothing is sick."""
    for slot in SLOTS:
        busy.be(slot, SlotState.RESTING, "Mon 22:00 UTC")
    for job_id in ("a", "b"):
        job = busy.job(job_id)
        assert busy.store.ask_way(job, "the hours are over")
        busy.make_way(job_id)
    assert busy.queue.attempts(["box-0"]) == {"a:2", "c:1"}
    until = ", ".join(f"{slot} until Mon 22:00 UTC" for slot in SLOTS)
    assert busy.reason("b") == f"waits for the hours of its slots (ACTIVE_HOURS): {until}"
    busy.submit("short", slip_in=True)
    busy.look()
    assert estimate_now(busy.store, [], 3).first(4) == [None] * 4
    for slot in SLOTS:
        busy.be(slot, SlotState.CONSUMING)
    assert [busy.take(slot) for slot in SLOTS] == ["short", "b"], "warm: a waits for its own"
    assert busy.job("b").parked_at("box-1") == "b:1"
