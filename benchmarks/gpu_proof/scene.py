"""Scene of a step: how large everything is, and where its model and its rows lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_proof.sizes import Size

MODEL, ROWS = "llama", "rows.jsonl"


@dataclass(frozen=True)
class Scene:
    """``work``: the folder of the whole proof."""

    work: Path
    size: Size

    @property
    def environment(self) -> dict[str, str]:
        """Of every step: one GPU, and all its files below ``work``, which is removed."""
        made = {"TMPDIR": str(self.work), "HF_HOME": str(self.work / "hf"), "HF_HUB_OFFLINE": "1"}
        if self.size.gpu:
            made["CUDA_VISIBLE_DEVICES"] = self.size.gpu
        return made

    @property
    def models(self) -> Path:
        """The folder of the model."""
        return self.work / "models"

    @property
    def datasets(self) -> Path:
        """The folder of the rows."""
        return self.work / "datasets"
