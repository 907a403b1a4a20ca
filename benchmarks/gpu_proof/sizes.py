"""Sizes of the proof: a Llama of a billion parameters for a GPU, a tiny one where there is none."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.machine.gpu import Gpu, list_gpus

PEAK_BF16_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Dense bf16, from NVIDIA's data sheets."""


@dataclass(frozen=True)
class Size:
    """How large everything is. ``machine``: what the rows say of where they were measured.
    ``gpu``: its UUID; "" without one.

    ``model``: of a ``LlamaConfig``. ``length``: tokens of a row at most. ``warm_up``: steps that
    are not counted. ``too_large``: a batch that the machine's memory has no room for.
    ``parked_steps``: of a training that is paused near its start.
    """

    machine: str
    gpu: str
    model: Mapping[str, Any]
    length: int
    rows: int
    batch: int
    steps: int
    warm_up: int
    too_large: int
    parked_steps: int

    @property
    def on_gpu(self) -> bool:
        """Whether it is for a GPU."""
        return bool(self.gpu)

    @property
    def peak_flops(self) -> float | None:
        """Dense bf16 of this chip; None if it is not known."""
        return next((f for chip, f in PEAK_BF16_FLOPS.items() if chip in self.machine), None)

    def flops_per_token(self, parameters: int, *, frozen: bool) -> float:
        """Of forward and backward: 6 for each parameter (4 for one that is frozen, as its gradient
        is not computed), and 12 * layers * width * length of attention
        (Chowdhery et al. 2022, arXiv:2204.02311, appendix B), for rows of the mean length."""
        lengths = [len(row) for row in self.token_rows()]
        mean = sum(lengths) / len(lengths)
        attention = 12 * self.model["num_hidden_layers"] * self.model["hidden_size"] * mean
        return (4.0 if frozen else 6.0) * parameters + float(attention)

    def token_rows(self) -> Iterator[list[int]]:
        """Numbers of words, most rows a quarter of ``length`` or less, none longer."""
        draw = random.Random(0)
        for _ in range(self.rows):
            drawn = self.length // 16 + int(draw.expovariate(4 / self.length))
            words = min(drawn, self.length - 1)  # the end of the text is a token too
            yield [draw.randrange(3, self.model["vocab_size"]) for _ in range(words)]


_LLAMA_1B = {
    "vocab_size": 32_000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
}
_LLAMA_TINY = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
TINY = Size("cpu, tiny", "", _LLAMA_TINY, 64, 64, 4, 8, 2, 8, 150)


def gpu_size(gpu: Gpu) -> Size:
    """For a training of seconds on this GPU."""
    return Size(gpu.name, gpu.uuid, _LLAMA_1B, 1024, 2000, 8, 20, 5, 256, 60)


def size_here() -> Size:
    """For the GPU that a training here would take; else the tiny one."""
    gpus = list_gpus()
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    own = gpus[int(first) :][:1] if first.isdecimal() else [g for g in gpus if g.uuid == first]
    return gpu_size(own[0]) if own else TINY
