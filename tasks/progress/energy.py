"""Energy that GPUs have used, by NVML's own counters."""

from __future__ import annotations

from typing import Any

import pynvml


def energy_j(devices: str) -> float | None:
    """What ``devices`` (as in CUDA_VISIBLE_DEVICES) have used since their driver was loaded,
    joules; None without any, or if NVML cannot tell."""
    if not devices:
        return None
    try:
        pynvml.nvmlInit()
        used_mj = [
            pynvml.nvmlDeviceGetTotalEnergyConsumption(device_handle(device))
            for device in devices.split(",")
        ]
    except pynvml.NVMLError:
        return None
    return float(sum(used_mj)) / 1000


def device_handle(visible_devices: str) -> Any:
    """NVML's handle of the first device in a value of ``CUDA_VISIBLE_DEVICES``."""
    first = visible_devices.partition(",")[0].strip() or "0"
    if first.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(first))
    return pynvml.nvmlDeviceGetHandleByUUID(first)
