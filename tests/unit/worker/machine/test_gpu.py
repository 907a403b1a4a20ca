"""A slot's GPU is free when the memory of its job is back, and the slot says so when it is not."""

from __future__ import annotations

from collections.abc import Iterator

from worker.machine.gpu import GpuUse, wait_released

GB = 10**9
BEFORE = GpuUse(frozenset({7}), GB)


def reading(*uses: GpuUse | None) -> Iterator[GpuUse | None]:
    yield from uses
    while True:
        yield uses[-1]


def wait(before: GpuUse | None, *uses: GpuUse | None) -> tuple[str | None, int]:
    """What was found, and how often it was slept."""
    found, sleeps = reading(*uses), []
    left = wait_released(before, use=lambda: next(found), timeout_s=1.0, sleep=sleeps.append)
    return left, len(sleeps)


def test_without_a_gpu_nothing_is_waited_for() -> None:
    assert wait(None, BEFORE) == (None, 0)


def test_it_waits_until_the_memory_is_back() -> None:
    busy = GpuUse(frozenset({7, 8}), 30 * GB)
    assert wait(BEFORE, busy, busy, BEFORE) == (None, 2)


def test_what_does_not_come_back_is_named_with_its_processes() -> None:
    left, sleeps = wait(BEFORE, GpuUse(frozenset({7, 8}), 30 * GB))
    assert left == "29.0 GB of the GPU's memory did not come back; processes [8] are still on it"
    assert sleeps == 10


def test_memory_without_a_process_is_a_leak_of_the_driver() -> None:
    left, _ = wait(BEFORE, GpuUse(frozenset({7}), 3 * GB))
    assert left == "2.0 GB of the GPU's memory did not come back; no process is on it"


def test_the_drivers_own_bookkeeping_is_no_leak() -> None:
    assert wait(BEFORE, GpuUse(frozenset({7}), GB + 200 * 1024**2)) == (None, 0)
