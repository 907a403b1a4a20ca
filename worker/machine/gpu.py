"""GPUs of this machine, through NVML: who they are, and whether an attempt has left them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pynvml

from trainyard.contract.units import GB, MIB


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
                memory_total_gb=pynvml.nvmlDeviceGetMemoryInfo(handle).total / GB,
            )
            for handle in handles
        ]
    finally:
        pynvml.nvmlShutdown()


RELEASE_TIMEOUT_S = 10.0
MEMORY_TOLERANCE_BYTES = 256 * MIB
"""The driver's own bookkeeping moves by this much."""
_CHECK_EVERY_S = 0.1


@dataclass(frozen=True)
class GpuUse:
    """Who is on the slot's GPUs, and how much memory is taken there. ``pids`` as NVML sees them."""

    pids: frozenset[int]
    used_bytes: int


def slot_gpu_use() -> GpuUse | None:
    """Use of the GPUs that CUDA_VISIBLE_DEVICES pins by UUID or index; None without a GPU.

    Raises pynvml.NVMLError if the driver fails.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver: no GPU
        return None
    try:
        uses = [use for device in visible if (use := _use_of(device)) is not None]
    finally:
        pynvml.nvmlShutdown()
    if not uses:
        return None
    pids = frozenset[int]().union(*(use.pids for use in uses))
    return GpuUse(pids, sum(use.used_bytes for use in uses))


def _use_of(device: str) -> GpuUse | None:
    if device.isdecimal():
        if int(device) >= pynvml.nvmlDeviceGetCount():
            return None
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(device))
    else:
        handle = pynvml.nvmlDeviceGetHandleByUUID(device)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    used = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    return GpuUse(frozenset(process.pid for process in processes), used)


def wait_released(
    before: GpuUse | None,
    *,
    use: Callable[[], GpuUse | None] = slot_gpu_use,
    timeout_s: float = RELEASE_TIMEOUT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Wait until the GPU is as it was ``before`` the attempt.

    Returns None when it is (at once without a GPU), else a sentence on what is still there.
    """
    if before is None:
        return None
    for _ in range(max(1, round(timeout_s / _CHECK_EVERY_S))):
        now = use()
        if now is None:
            return None
        new = now.pids - before.pids
        too_much = now.used_bytes - before.used_bytes
        if too_much <= MEMORY_TOLERANCE_BYTES:
            return None
        sleep(_CHECK_EVERY_S)
    who = f"processes {sorted(new)} are still on it" if new else "no process is on it"
    return f"{too_much / GB:.1f} GB of the GPU's memory did not come back; {who}"
