"""A slot's GPU: expected, named with its trouble, and free when the memory of its job is back."""

from __future__ import annotations

from collections.abc import Iterator

import pynvml
import pytest

from worker.machine import gpu
from worker.machine.gpu import (
    GpuSilent,
    GpuUse,
    GpuView,
    list_gpus,
    slot_gpu_use,
    wait_released,
    why_gpu_expected,
    why_unusable,
)

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


def test_a_driver_that_fails_meanwhile_is_named() -> None:
    def use() -> GpuUse | None:
        raise GpuSilent("the slot's GPU does not answer: GPU is lost")

    assert wait_released(BEFORE, use=use) == "the slot's GPU does not answer: GPU is lost"


SEEN = GpuView(("NVIDIA H200",), "550.90.07")
GONE = GpuView(error="Unknown Error")


@pytest.mark.parametrize(
    ("visible", "view", "required", "why"),
    [
        (None, GpuView(), False, ""),
        (None, GpuView(), True, "REQUIRE_GPU is set"),
        (None, SEEN, False, "NVML shows NVIDIA H200"),
        ("0", GpuView(), False, ""),
        ("GPU-1", GONE, False, "this slot has GPU-1"),
        ("", SEEN, False, ""),
        ("-1", SEEN, False, ""),
        ("-1", SEEN, True, "REQUIRE_GPU is set"),
    ],
)
def test_a_gpu_that_anybody_shows_is_expected(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, view: GpuView, required: bool, why: str
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert why_gpu_expected(view, required=required) == why


@pytest.mark.parametrize(
    ("view", "cuda", "cause"),
    [
        (GONE, "13.0", "NVML finds none (Unknown Error); a container loses its GPUs"),
        (GpuView(), "13.0", "NVML finds none (it lists no device)"),
        (SEEN, None, "the installed torch is built for the CPU"),
        (SEEN, "13.0", "the driver 550.90.07 is too old: torch is built for CUDA 13.0"),
        (SEEN, "12.6", "torch said so"),
    ],
)
def test_the_cause_is_named(
    monkeypatch: pytest.MonkeyPatch, view: GpuView, cuda: str | None, cause: str
) -> None:
    monkeypatch.setattr(gpu, "torch_cuda", lambda: cuda)
    assert why_unusable("it has one", view, "torch said so").startswith(f"it has one, but {cause}")


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_who_hides_the_gpus_has_none(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    def no_look() -> None:
        raise AssertionError

    monkeypatch.setattr(pynvml, "nvmlInit", no_look)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert list_gpus() == []
    assert slot_gpu_use() is None
