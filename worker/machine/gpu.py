"""GPUs of this machine, through NVML: who they are, and whether an attempt has left them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pynvml

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.units import GB, MIB
from trainyard.service.cuda_driver import too_old, torch_cuda

HIDDEN = ("", "-1")
"""CUDA_VISIBLE_DEVICES of who wants to train on the CPU, on a machine with GPUs too."""
SHARED = "TRAINYARD_GPU_SHARED"
"""Environment of a worker whose GPU another slot has too."""


@dataclass(frozen=True)
class Gpu:
    """One GPU. ``uuid`` pins it (CUDA_VISIBLE_DEVICES), whatever the order of devices."""

    uuid: str
    name: str
    memory_total_gb: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def list_gpus() -> list[Gpu]:
    """GPUs in NVML's order; none if CUDA_VISIBLE_DEVICES hides all of them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in HIDDEN:
        return []
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


@dataclass(frozen=True)
class GpuView:
    """What NVML shows now: the GPUs' names and the driver, or why it shows none (``error``)."""

    names: tuple[str, ...] = ()
    driver: str = ""
    error: str = ""


def gpu_view() -> GpuView:
    """A look through NVML; never raises."""
    try:
        pynvml.nvmlInit()
        try:
            handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
            names = tuple(pynvml.nvmlDeviceGetName(handle) for handle in handles)
            return GpuView(names, pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return GpuView(error=str(error))


def why_gpu_expected(view: GpuView, *, required: bool) -> str:
    """Why a training of this slot must find a GPU; "" if it may train on the CPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible not in HIDDEN:
        if view.names:
            return f"NVML shows {view.names[0]}"
        if visible and visible.startswith(("GPU-", "MIG-")):
            return f"this slot has {visible}"
    return "REQUIRE_GPU is set" if required else ""


def why_unusable(expected: str, view: GpuView, said: str) -> str:
    """Why torch cannot use the GPU that is ``expected``; ``said`` is torch's own sentence."""
    cuda = torch_cuda()
    if not view.names:
        because = (
            f"NVML finds none ({view.error or 'it lists no device'}); a container loses its GPUs "
            "at a `systemctl daemon-reload` of its host, until it is created anew"
        )
    elif cuda is None:
        because = (
            "the installed torch is built for the CPU (CUDA_VISIBLE_DEVICES=-1 where the worker is "
            "started trains on the CPU all the same)"
        )
    else:
        because = too_old(view.driver, cuda) or said
    return f"{expected}, but {because}"


class GpuSilent(TrainyardError):
    """NVML does not answer about the slot's GPU, though its library is there."""


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

    Raises GpuSilent if the driver fails.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    if visible in HIDDEN:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver: no GPU
        return None
    try:
        uses = [use for device in visible.split(",") if (use := _use_of(device)) is not None]
    except pynvml.NVMLError as error:
        raise GpuSilent(f"the slot's GPU does not answer: {error}") from error
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
        try:
            now = use()
        except GpuSilent as error:
            return str(error)
        if now is None:
            return None
        new = now.pids - before.pids
        too_much = now.used_bytes - before.used_bytes
        if too_much <= MEMORY_TOLERANCE_BYTES:
            return None
        sleep(_CHECK_EVERY_S)
    who = f"processes {sorted(new)} are still on it" if new else "no process is on it"
    return f"{too_much / GB:.1f} GB of the GPU's memory did not come back; {who}"
