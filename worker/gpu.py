"""The GPUs of this machine, through NVML; an empty list where there is none."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pynvml


@dataclass(frozen=True)
class Gpu:
    """One GPU. ``uuid`` pins it (CUDA_VISIBLE_DEVICES), whatever the order of devices."""

    uuid: str
    name: str
    memory_total_gb: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def list_gpus() -> list[Gpu]:
    """GPUs in NVML's order."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver: no GPU
        return []
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [
            Gpu(
                uuid=pynvml.nvmlDeviceGetUUID(handle),
                name=pynvml.nvmlDeviceGetName(handle),
                memory_total_gb=round(pynvml.nvmlDeviceGetMemoryInfo(handle).total / 1e9, 1),
            )
            for handle in handles
        ]
    finally:
        pynvml.nvmlShutdown()
