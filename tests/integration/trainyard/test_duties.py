"""Duties on a real Redis: one has each at a time, and whoever dies loses it."""

from __future__ import annotations

import time

from redis import Redis

from tests.support.waiting import wait_for
from trainyard.scheduling.couriers import Duty
from trainyard.store.keys import DUTY


def test_one_has_a_duty_while_it_goes_on_asking(real_redis: Redis) -> None:
    first, second, other = (
        Duty(real_redis, "work", every_s=0.2),
        Duty(real_redis, "work", every_s=0.2),
        Duty(real_redis, "other work", every_s=0.2),
    )
    assert first.is_mine()
    assert other.is_mine()
    until = time.monotonic() + 1.0  # longer than it is kept
    while time.monotonic() < until:
        assert not second.is_mine()
        assert first.is_mine()


def test_whoever_asks_next_has_the_duty_of_one_that_died_or_left(real_redis: Redis) -> None:
    first, second, third = (Duty(real_redis, "work", every_s=0.1) for _ in range(3))
    assert first.is_mine()
    assert not second.is_mine()
    wait_for("it is lost", second.is_mine)
    assert not first.is_mine()
    first.leave()
    assert second.is_mine(), "nobody gives up what is another's"
    second.leave()
    assert third.is_mine()


def test_a_clock_that_was_set_back_keeps_no_duty_for_a_dead_one(real_redis: Redis) -> None:
    """Redis holds an expiry as a moment of its clock: set back by an hour, it is an hour away."""
    first, second = (Duty(real_redis, "work", every_s=0.1) for _ in range(2))
    assert first.is_mine()
    real_redis.pexpire(f"{DUTY}work", 3_600_000)
    wait_for("it is lost", second.is_mine, timeout_s=5)
