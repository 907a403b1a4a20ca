"""NVML's figures as the worker reads them, beside those of ``nvidia-smi``."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.gpu_proof.row import Row
from benchmarks.gpu_proof.scene import Scene
from benchmarks.measure import Target
from trainyard.contract.units import GB, MIB
from worker.machine.gpu import MEMORY_TOLERANCE_BYTES, list_gpus, slot_gpu_use

_HELD_BYTES = 1 << 30
_FIELDS = "uuid,name,memory.total,memory.used,memory.reserved"
CLOSE = Target("value", "<=", MEMORY_TOLERANCE_BYTES / GB)


@dataclass(frozen=True)
class Said:
    """One GPU by ``nvidia-smi``. ``used``: with what the driver keeps, as NVML counts it."""

    uuid: str
    name: str
    total_gb: float
    used_gb: float


def parse(text: str) -> list[Said]:
    """Its lines, as CSV without units."""
    found = []
    for line in text.splitlines():
        uuid, name, *memory = (cell.strip() for cell in line.split(","))
        total, used, reserved = (float(number) * MIB / GB for number in memory)
        found.append(Said(uuid, name, total, used + reserved))
    return found


def run(scene: Scene) -> Iterator[Row]:
    """Names and sizes must agree; what is used is read one moment after the other."""
    if not scene.size.on_gpu:
        there = "is" if shutil.which("nvidia-smi") else "is not"
        note = f"NVML shows no GPU; nvidia-smi {there} on the PATH"
        yield Row("GPUs", float(len(list_gpus())), "", note=note)
        return
    import torch

    held = torch.empty(_HELD_BYTES, dtype=torch.uint8, device="cuda")
    command = ["nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    said = parse(subprocess.check_output(command, text=True))
    yield from compare(said, scene.size.gpu)
    del held


def compare(said: list[Said], visible: str) -> Iterator[Row]:
    """``visible``: the UUID of the slot's GPU."""
    ours = list_gpus()
    if [(gpu.uuid, gpu.name) for gpu in ours] != [(gpu.uuid, gpu.name) for gpu in said]:
        raise RuntimeError(f"NVML lists {ours}, nvidia-smi {said}")
    yield Row("GPUs", float(len(ours)), "", note="the same UUIDs and names as nvidia-smi's")
    pairs = zip(ours, said, strict=True)
    apart = max(abs(gpu.memory_total_gb - other.total_gb) for gpu, other in pairs)
    yield Row("memory in all, apart from nvidia-smi", apart, "GB", aim=CLOSE)
    use = slot_gpu_use()
    (own,) = [gpu for gpu in said if gpu.uuid == visible]
    used = use.used_bytes / GB if use else 0.0
    note = f"{used:.2f} GB by NVML, {own.used_gb:.2f} GB by nvidia-smi"
    yield Row(
        "memory used, apart from nvidia-smi", abs(used - own.used_gb), "GB", None, CLOSE, note
    )
