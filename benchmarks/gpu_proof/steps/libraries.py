"""Libraries that a worker uses where they are installed: bitsandbytes and flash-attn."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu_proof.row import Row
from benchmarks.gpu_proof.scene import Scene
from benchmarks.gpu_proof.steps.product_run import settings, train
from tests.support.training import Preloaded

PATHS: dict[str, tuple[str, dict[str, Any], str]] = {
    "bitsandbytes": (
        "LoRA",
        {"quantization": {"load_in_4bit": True}, "optim": "paged_adamw_8bit"},
        "optimizer: paged_adamw_8bit",
    ),
    "flash_attn": ("full", {}, "attention: flash_attention_2"),
}
"""Its module, and the kind of training, what it asks for, and what its log then says."""


def run(scene: Scene) -> Iterator[Row]:
    """The rate of each path that there is."""
    for module, (kind, training, said) in PATHS.items():
        if importlib.util.find_spec(module) is None:
            yield Row(module, state="left out", note="not installed")
        elif not scene.size.on_gpu:
            yield Row(module, state="left out", note="installed, but it needs a GPU")
        else:
            with Preloaded() as preloaded:
                asked = settings(scene, kind, **training)
                done = train(scene, preloaded, module.replace("_", "-"), asked)
            if said not in done.run.log:
                raise RuntimeError(f"{module} is installed, but the log does not say {said!r}")
            rate = done.tokens_per_s(scene.size.warm_up)
            yield Row(f"{module}: rate", rate, "tokens/s", note=f"{kind}, {said}")
            yield Row(f"{module}: peak memory", done.peak_gb, "GB")
