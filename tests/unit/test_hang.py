"""When silence is a hang, and when it is not."""

from __future__ import annotations

from worker.hang import FLOOR_S, MEDIANS, STEPS_NEEDED, HangWatch


def stepping(watch: HangWatch, seconds: float, count: int) -> float:
    for step in range(count):
        watch.progress(step, step * seconds)
    return (count - 1) * seconds


def test_before_the_first_step_nothing_is_a_hang() -> None:
    watch = HangWatch(hang_s=5)
    assert not watch.is_hung(10_000)


def test_a_set_limit_holds_from_the_first_step_on() -> None:
    watch = HangWatch(hang_s=5)
    watch.progress(1, 100)
    assert not watch.is_hung(104.9)
    assert watch.is_hung(105.1)


def test_the_limit_follows_the_median_step() -> None:
    watch = HangWatch()
    last = stepping(watch, 10, STEPS_NEEDED + 1)
    assert watch.limit_s == 10 * MEDIANS
    assert not watch.is_hung(last + 10 * MEDIANS - 1)
    assert watch.is_hung(last + 10 * MEDIANS + 1)


def test_fast_steps_have_a_floor() -> None:
    watch = HangWatch()
    last = stepping(watch, 0.01, 50)
    assert watch.limit_s == FLOOR_S
    assert not watch.is_hung(last + FLOOR_S - 1)


def test_too_few_steps_tell_nothing() -> None:
    watch = HangWatch()
    last = stepping(watch, 1, STEPS_NEEDED)
    assert watch.limit_s is None
    assert not watch.is_hung(last + 10_000)


def test_several_steps_between_two_signs_count_each() -> None:
    watch = HangWatch()
    for n in range(STEPS_NEEDED + 1):
        watch.progress(10 * n, 100.0 * n)
    assert watch.limit_s == 10 * MEDIANS


def test_other_signs_of_life_move_the_limit() -> None:
    watch = HangWatch(hang_s=5)
    watch.progress(1, 100)
    watch.sign(104)
    assert not watch.is_hung(108)
    assert watch.silent_s(108) == 4
