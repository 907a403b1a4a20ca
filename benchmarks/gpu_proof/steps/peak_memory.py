"""Peak memory: of the GPU as NVML sees it; without one, of all processes below this one."""

from __future__ import annotations

import contextlib
import threading
from typing import Self

import psutil

from trainyard.contract.units import GB
from worker.machine.gpu import slot_gpu_use

_SAMPLE_EVERY_S = 0.05


def used_gb() -> float:
    """What is taken now."""
    use = slot_gpu_use()
    if use is not None:
        return use.used_bytes / GB
    taken = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            taken += process.memory_info().rss
    return taken / GB


class PeakMemory:
    """A context manager; ``gb``: the most that was taken inside, beyond what was before."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._before = self._most = used_gb()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def gb(self) -> float:
        return self._most - self._before

    def _watch(self) -> None:
        while not self._end.wait(_SAMPLE_EVERY_S):
            self._most = max(self._most, used_gb())
