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


LEAK = "2.0 GB of the GPU's memory did not come back; no process is on it"
BUSY = GpuUse(frozenset({7, 8}), 30 * GB)


@pytest.mark.parametrize(
    ("before", "uses", "left", "sleeps"),
    [
        (None, [BEFORE], None, 0),
        (BEFORE, [BUSY, BUSY, BEFORE], None, 2),
        (BEFORE, [BUSY], "29.0 GB of the GPU's memory did not come back; processes [8] are", 10),
        (BEFORE, [GpuUse(frozenset({7}), 3 * GB)], LEAK, 10),
        (BEFORE, [GpuUse(frozenset({7}), GB + 200 * 1024**2)], None, 0),  # the driver's own
    ],
)
def test_memory_is_waited_for_and_named_if_it_does_not_come_back(
    before: GpuUse | None, uses: list[GpuUse | None], left: str | None, sleeps: int
) -> None:
    found, slept = reading(*uses), list[float]()
    said = wait_released(before, use=lambda: next(found), timeout_s=1.0, sleep=slept.append)
    assert (said or "").startswith(left or "")
    assert (said is None, len(slept)) == (left is None, sleeps)


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
