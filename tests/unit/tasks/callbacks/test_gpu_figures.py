"""GPU figures against a double of NVML with two GPUs, of which the job has the second."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

from tasks.callbacks import gpu_figures
from tasks.callbacks.gpu_figures import GpuFigures
from tasks.progress.energy import device_handle

SAMPLES = 3


class TwoGpus:
    """NVML of a machine with two GPUs; a handle is the GPU's number."""

    uuids = ("GPU-first", "GPU-second")
    utilization = (11, 88)

    def __init__(self) -> None:
        self.sampled_by: list[threading.Thread] = []
        self.enough = threading.Event()

    def sample(self, handle: int) -> SimpleNamespace:
        self.sampled_by.append(threading.current_thread())
        if len(self.sampled_by) == SAMPLES:
            self.enough.set()
        return SimpleNamespace(gpu=self.utilization[handle])


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> TwoGpus:
    """The double in NVML's place."""
    gpus = TwoGpus()
    for name, function in {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetHandleByUUID": gpus.uuids.index,
        "nvmlDeviceGetUtilizationRates": gpus.sample,
    }.items():
        monkeypatch.setattr(pynvml, name, function)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 2 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 3 * 10**9)
    monkeypatch.setattr(gpu_figures, "SAMPLE_INTERVAL_S", 0.01)
    return gpus


@pytest.mark.parametrize("visible", ["GPU-second", "GPU-second,GPU-first", "1"])
def test_the_figures_are_of_the_jobs_own_gpu_and_read_off_the_step_path(
    nvml: TwoGpus, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    figures = GpuFigures()
    figures.start()
    try:
        assert nvml.enough.wait(10)
        for _ in range(100):  # what a step does
            assert figures.latest()["gpu_utilization_percent"] == 88.0
    finally:
        figures.stop()
    assert figures.latest() == {
        "gpu_memory_allocated_gb": 2.0,
        "gpu_memory_reserved_gb": 3.0,
        "gpu_utilization_percent": 88.0,
    }
    assert threading.current_thread() not in nvml.sampled_by
    assert len(set(nvml.sampled_by)) == 1
    ended = len(nvml.sampled_by)
    assert not nvml.sampled_by[0].is_alive()
    figures.latest()
    assert len(nvml.sampled_by) == ended


def test_gpu_figures_end_with_an_error() -> None:
    failed = threading.Event()

    def fail() -> dict[str, float]:
        failed.set()
        raise RuntimeError("the driver is gone")

    figures = GpuFigures(fail)
    figures.start()
    assert failed.wait(10)
    figures.stop()
    assert figures.latest() == {}


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("1,2", ("index", 1)), ("", ("index", 0)), ("GPU-abc", ("uuid", "GPU-abc"))],
)
def test_the_jobs_own_gpu_is_asked(
    visible: str, expected: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: ("index", index))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: ("uuid", uuid))
    assert device_handle(visible) == expected
