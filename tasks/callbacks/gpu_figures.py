"""GPU figures of the job's own device, sampled by a thread off the training's step path."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import pynvml
import torch

from trainyard.contract.units import GB

SAMPLE_INTERVAL_S = 2.0

logger = logging.getLogger(__name__)

Figures = dict[str, float]


class GpuFigures:
    """Latest figures of one GPU, under the names of ``contract.Metric``; its energy, joules.

    ``sample`` reads them once; it is called every two seconds between :meth:`start` and
    :meth:`stop`, which may follow one another again. Without a GPU :meth:`latest` stays empty.
    """

    def __init__(self, sample: Callable[[], Figures] | None = None) -> None:
        self._sample = sample
        self._latest: Figures = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.energy_j: float | None = None

    def start(self) -> None:
        """Start sampling, if there is a GPU."""
        if self._sample is None and torch.cuda.is_available():
            self._sample = nvml_sampler(os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
        if self._sample is not None:
            self._stop.clear()
            self._energy_at_start = energy_j()
            self._thread = threading.Thread(target=self._run, name="gpu-figures", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            now = energy_j()
            if now is not None and self._energy_at_start is not None:
                self.energy_j = (self.energy_j or 0.0) + now - self._energy_at_start
                self._energy_at_start = now

    def latest(self) -> Figures:
        """The last sample; empty if there is none."""
        return self._latest

    def _run(self) -> None:
        assert self._sample is not None
        while True:
            try:
                self._latest = self._sample()
            except (pynvml.NVMLError, RuntimeError) as error:
                # Reporting never fails a job; the figures are left out from here on.
                logger.warning("GPU figures are not available any more: %s", error)
                self._latest = {}
                return
            if self._stop.wait(SAMPLE_INTERVAL_S):
                return


def nvml_sampler(visible_devices: str) -> Callable[[], Figures] | None:
    """A function that reads the first of ``visible_devices`` (index or UUID); None without NVML."""
    try:
        pynvml.nvmlInit()
        handle = device_handle(visible_devices)
    except pynvml.NVMLError as error:
        logger.warning("GPU figures are left out, NVML says: %s", error)
        return None

    def sample() -> Figures:
        return {
            "gpu_memory_allocated_gb": torch.cuda.memory_allocated() / GB,
            "gpu_memory_reserved_gb": torch.cuda.memory_reserved() / GB,
            "gpu_utilization_percent": float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        }

    return sample


def energy_j() -> float | None:
    """What the GPU has used since its driver was loaded, joules; None if NVML cannot tell."""
    try:
        pynvml.nvmlInit()
        handle = device_handle(os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except pynvml.NVMLError:
        return None


def device_handle(visible_devices: str) -> Any:
    """NVML's handle of the first device in a value of ``CUDA_VISIBLE_DEVICES``."""
    first = visible_devices.partition(",")[0].strip() or "0"
    if first.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(first))
    return pynvml.nvmlDeviceGetHandleByUUID(first)
