"""When silence is a hang, and when it is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker.machine.process_tree import cpu_time_s
from worker.supervisor.hang_watch import (
    FLOOR_S,
    MEDIANS,
    START_S,
    STEPS_NEEDED,
    STIRRING_CPU_S,
    HangWatch,
)


def test_a_freeze_is_no_part_of_a_step() -> None:
    watch = HangWatch(cpu_s=Cpu())
    for step in range(STEPS_NEEDED):
        watch.progress(step, step)
    watch.absent(3600)
    watch.progress(STEPS_NEEDED, 3600 + STEPS_NEEDED)
    assert watch.limit_s == FLOOR_S


class Cpu:
    """Processor time as a test wants it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, pid: int) -> float:
        return self.seconds


def test_before_the_process_runs_nothing_is_a_hang() -> None:
    assert not HangWatch(hang_s=5).is_hung(10_000)


def test_a_start_without_any_sign_of_life_is_a_hang() -> None:
    for watch, limit_s in ((HangWatch(cpu_s=Cpu()), START_S), (HangWatch(5, cpu_s=Cpu()), 5)):
        watch.look(1, 100)
        watch.look(1, 100 + limit_s)
        assert not watch.is_hung(100 + limit_s)
        assert watch.is_hung(100.1 + limit_s)
        assert watch.is_starting


def test_what_was_frozen_with_the_watch_did_not_hang() -> None:
    for watch in (HangWatch(5, cpu_s=Cpu()), HangWatch(5, cpu_s=Cpu())):
        watch.look(1, 100)
        watch.absent(3600)
        watch.look(1, 3702)
        assert watch.silent_s(3702) == 2


def test_processor_time_output_and_events_are_signs_of_life_of_a_start() -> None:
    cpu = Cpu()
    watch = HangWatch(5, cpu_s=cpu)
    watch.look(1, 100)
    cpu.seconds += 2 * STIRRING_CPU_S
    watch.look(1, 104)
    assert watch.silent_s(104) == 0
    cpu.seconds += STIRRING_CPU_S / 2
    watch.look(1, 107)
    assert watch.silent_s(107) == 3
    watch.output(108)
    assert watch.silent_s(108) == 0
    watch.sign(111)
    assert watch.silent_s(111) == 0


def test_after_the_first_step_neither_output_nor_a_busy_loop_is_a_sign() -> None:
    cpu = Cpu()
    watch = HangWatch(5, cpu_s=cpu)
    watch.look(1, 99)
    watch.progress(1, 100)
    cpu.seconds += 4
    watch.look(1, 104)
    watch.output(104)
    assert watch.is_hung(105.1)


def test_processor_time_of_descendants_counts() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    shell = f"{sys.executable} -c '{burn}'; true"  # the shell stays, as a parent
    with subprocess.Popen(
        ["sh", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        assert cpu_time_s(process.pid) >= 0.25
        process.stdin.write(b"\n")
    assert cpu_time_s(process.pid) == 0, "there is no such process any more"


def test_a_set_limit_holds_from_the_first_step_on() -> None:
    watch = HangWatch(hang_s=5)
    watch.progress(1, 100)
    assert not watch.is_hung(104.9)
    assert watch.is_hung(105.1)


@pytest.mark.parametrize(
    ("seconds", "signs", "steps_each", "limit_s"),
    [
        (10, STEPS_NEEDED + 1, 1, 10 * MEDIANS),
        (0.01, 50, 1, FLOOR_S),
        (1, STEPS_NEEDED, 1, START_S),  # too few
        (100, STEPS_NEEDED + 1, 10, 10 * MEDIANS),  # each counts
    ],
)
def test_the_limit_follows_the_median_step(
    seconds: float, signs: int, steps_each: int, limit_s: float
) -> None:
    watch = HangWatch()
    for n in range(signs):
        watch.progress(steps_each * n, seconds * n)
    assert watch.limit_s == limit_s
    last = seconds * (signs - 1)
    assert not watch.is_hung(last + limit_s - 1)
    assert watch.is_hung(last + limit_s + 1)


def test_other_signs_of_life_move_the_limit() -> None:
    watch = HangWatch(hang_s=5)
    watch.progress(1, 100)
    watch.sign(104)
    assert not watch.is_hung(108)
    assert watch.silent_s(108) == 4
