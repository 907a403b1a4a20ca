"""Energy of a slot's GPUs, as NVML adds it up itself since its driver was loaded.

It is that of the whole GPU: nobody can tell whose it is if several slots share one, or of a share
of it (MIG), or if the GPU does not count. Then it is unknown, and not 0.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator

import pynvml

from worker.machine.gpu import HIDDEN, GpuView

logger = logging.getLogger(__name__)

EnergyReader = Callable[[], int | None]
"""mJ since it was made; None if it cannot be told any more."""


def slot_devices(view: GpuView) -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES gives this slot, the first one without; [] on a CPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    return visible.split(",") if view.names and visible not in HIDDEN else []


@contextlib.contextmanager
def metering(devices: str) -> Iterator[EnergyReader | None]:
    """A reader of the energy of ``devices`` (as in CUDA_VISIBLE_DEVICES); None if "" or they tell
    none."""
    if not devices:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        _say(error)
        yield None
        return
    try:
        yield _reader(devices)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _reader(devices: str) -> EnergyReader | None:
    try:
        handles = [_handle(device.strip()) for device in devices.split(",")]
        last = [pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles]
    except pynvml.NVMLError as error:
        _say(error)
        return None
    used_mj, well = 0, True

    def read() -> int | None:
        nonlocal used_mj, well
        if not well:
            return None
        try:
            for number, handle in enumerate(handles):
                now = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
                used_mj += max(0, now - last[number])  # a driver that was loaded again begins at 0
                last[number] = now
        except pynvml.NVMLError as error:
            well = False
            _say(error)
            return None
        return used_mj

    return read


def _handle(device: str) -> object:
    if device.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(device))
    return pynvml.nvmlDeviceGetHandleByUUID(device)


def _say(error: pynvml.NVMLError) -> None:
    logger.warning("The GPU's energy is not counted: %s", error, extra={"action": "no_energy"})
