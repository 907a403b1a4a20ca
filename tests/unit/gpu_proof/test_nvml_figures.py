"""NVML's figures against what nvidia-smi prints, by doubles of both."""

from __future__ import annotations

import pytest

from benchmarks.gpu_proof.steps import nvml_figures
from benchmarks.gpu_proof.steps.nvml_figures import compare, parse
from trainyard.contract.units import GB, MIB
from worker.machine.gpu import Gpu, GpuUse

SAID = "GPU-1, NVIDIA H200, 143771, 1500, 500\n"


@pytest.fixture(autouse=True)
def nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU, of which 2,100 MiB are used."""
    gpu = Gpu("GPU-1", "NVIDIA H200", 143771 * MIB / GB)
    use = GpuUse(frozenset({7}), 2100 * MIB)
    monkeypatch.setattr(nvml_figures, "list_gpus", lambda: [gpu])
    monkeypatch.setattr(nvml_figures, "slot_gpu_use", lambda: use)


def test_figures_that_agree() -> None:
    gpus, total, used = compare(parse(SAID), "GPU-1")
    assert (gpus.value, total.value) == (1.0, 0.0)
    assert used.value == pytest.approx(100 * MIB / GB)
    assert used.aim is not None
    assert used.aim.met(used.value)


def test_another_gpu_fails_the_step() -> None:
    with pytest.raises(RuntimeError, match="GPU-2"):
        list(compare(parse(SAID.replace("GPU-1", "GPU-2")), "GPU-1"))
