"""Energy of a slot's GPUs against a double of NVML."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pynvml
import pytest

from worker.machine.energy import metering, slot_devices
from worker.machine.gpu import GpuView

TWO = GpuView(names=("H200", "H200"))


class Nvml:
    """Two GPUs; a handle is the GPU's number. ``fails``: it does not answer any more."""

    def __init__(self) -> None:
        self.mj = [1000, 90_000]
        self.fails = False
        self.opened = 0

    def energy(self, handle: int) -> int:
        if self.fails:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return self.mj[handle]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nvml]:
    double = Nvml()

    def opened(by: int) -> None:
        double.opened += by

    for name, function in {
        "nvmlInit": lambda: opened(1),
        "nvmlShutdown": lambda: opened(-1),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetHandleByUUID": ["GPU-a", "GPU-b"].index,
        "nvmlDeviceGetTotalEnergyConsumption": double.energy,
    }.items():
        monkeypatch.setattr(pynvml, name, function)
    yield double
    assert double.opened == 0


@pytest.mark.parametrize(
    ("visible", "devices"),
    [(None, ["0"]), ("GPU-a,GPU-b", ["GPU-a", "GPU-b"]), ("1", ["1"]), ("", []), ("-1", [])],
)
def test_a_slots_gpus(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, devices: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert slot_devices(TWO) == devices
    assert slot_devices(GpuView(error="no driver")) == []


def test_all_of_them_are_counted_from_the_start(nvml: Nvml) -> None:
    with metering("GPU-a,GPU-b") as read:
        assert read is not None
        assert read() == 0
        nvml.mj = [1500, 90_700]
        assert read() == 1200
        nvml.mj = [1500, 100]
        assert read() == 1200, "a driver that was loaded again begins at 0"
        nvml.mj = [1500, 400]
        assert read() == 1500


def test_one_that_fails_is_said_once_and_tells_no_more(
    nvml: Nvml, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), metering("1") as read:
        assert read is not None
        nvml.fails = True
        assert [read(), read()] == [None, None]
        nvml.fails = False
        assert read() is None
    assert caplog.text.count("energy is not counted") == 1


def test_a_gpu_that_does_not_count_has_no_reader(nvml: Nvml) -> None:
    nvml.fails = True
    with metering("GPU-a") as read:
        assert read is None


def test_without_a_gpu_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", None)
    with metering("") as read:
        assert read is None
