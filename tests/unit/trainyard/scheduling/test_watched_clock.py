"""Whether leases can be judged: not after silence that had another cause than a crash."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trainyard.scheduling.watched_clock import RedisInstant, WatchedClock

LEASE_S, EVERY_S = 30.0, 1.0
LONG_UP_S = 10_000.0


class Scene:
    """A clock that is looked at once a second; its own time and Redis's can be moved."""

    def __init__(self) -> None:
        self.own_s, self.redis_s, self.run_id, self.up_s = 0.0, 1.7e9, "one", LONG_UP_S
        self.clock = WatchedClock(LEASE_S, EVERY_S, lambda: self.own_s)

    def look(self) -> bool:
        instant = RedisInstant(self.redis_s, self.run_id, self.up_s)
        return self.clock.judges_until_s(instant) is not None

    def second(self) -> bool:
        self.own_s += 1
        self.redis_s += 1
        return self.look()

    def seconds_until_it_judges(self) -> int:
        return next(second for second in range(1, 1000) if self.second())


def _freeze(scene: Scene) -> None:
    scene.own_s += 2 * LEASE_S
    scene.redis_s += 2 * LEASE_S


def _suspend(scene: Scene) -> None:
    scene.redis_s += 3600


def _set_back(scene: Scene) -> None:
    scene.redis_s -= 3600


def _restart(scene: Scene) -> None:
    scene.run_id += "-again"


def _outage(scene: Scene) -> None:
    scene.clock.out_of_sight()


@pytest.mark.parametrize("event", [_freeze, _suspend, _set_back, _restart, _outage])
def test_silence_with_another_cause_gives_one_whole_lease(event: Callable[[Scene], None]) -> None:
    scene = Scene()
    scene.look()
    assert scene.second()
    for _ in range(10):
        event(scene)
        assert not scene.look()
        assert scene.seconds_until_it_judges() == LEASE_S


def test_a_first_look_takes_nothing_and_the_second_may() -> None:
    scene = Scene()
    assert not scene.look()
    assert scene.second()


def test_a_redis_that_has_just_started_gives_a_lease() -> None:
    scene = Scene()
    scene.up_s = 2
    assert not scene.look()
    assert scene.seconds_until_it_judges() == LEASE_S


def test_an_uptime_that_the_clock_made_negative_keeps_nobody_waiting() -> None:
    scene = Scene()
    scene.up_s = -3000
    scene.look()
    assert scene.second()


def test_rounds_that_are_somewhat_late_and_clocks_that_drift_are_no_reason() -> None:
    scene = Scene()
    scene.look()
    for _ in range(100):
        scene.own_s += 0.4 * LEASE_S
        scene.redis_s += 0.35 * LEASE_S
        assert scene.look()


def test_a_judgement_holds_for_less_than_a_lease() -> None:
    scene = Scene()
    scene.look()
    scene.own_s += 1
    until_s = scene.clock.judges_until_s(RedisInstant(scene.redis_s, "one", LONG_UP_S))
    assert until_s is not None
    assert 0 < until_s - scene.redis_s < LEASE_S
