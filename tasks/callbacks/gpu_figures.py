"""GPU figures of the job's own device, sampled by a thread off the training's step path."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

import pynvml
import torch

from tasks.progress.energy import device_handle
from trainyard.contract.units import GB

SAMPLE_INTERVAL_S = 2.0

logger = logging.getLogger(__name__)

Figures = dict[str, float]


class GpuFigures:
    """Latest figures of one GPU, under the names of ``contract.Metric``.

    ``sample`` reads them once; it is called every two seconds between :meth:`start` and
    :meth:`stop`, which may follow one another again. Without a GPU :meth:`latest` stays empty.
    """

    def __init__(self, sample: Callable[[], Figures] | None = None) -> None:
        self._sample = sample
        self._latest: Figures = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start sampling, if there is a GPU."""
        if self._sample is None and torch.cuda.is_available():
            self._sample = nvml_sampler(os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
        if self._sample is not None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="gpu-figures", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

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
