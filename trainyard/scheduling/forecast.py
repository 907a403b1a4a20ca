"""Forecast of a job: its steps, and what of a GPU's memory its weights take, before it is sent.

Weights, gradients and optimizer are counted from the headers of the model's safetensors files; what
a step computes with (activations, logits) comes on top and is estimated roughly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainyard.contract.config import JobConfig, LoraConfig
from trainyard.contract.units import GB

_HEADER_LENGTH_BYTES = 8
_FULL_BYTES = 16
"""Of a trained weight: itself, its gradient and AdamW's two moments, each in float32."""
_FROZEN_BYTES = {"load_in_4bit": 0.55, "load_in_8bit": 1.1}
"""Of a quantised weight, with its scales; others are frozen as they are saved."""
_ACTIVATION_BYTES = 34
"""Of each token, layer and hidden unit, in half precision, with attention that stores no scores
(https://arxiv.org/abs/2205.05198); with gradient checkpointing 2."""
_LOGIT_BYTES = 8
"""Of each token and word of the vocabulary: the logits in float32 and their gradient."""


@dataclass(frozen=True)
class Tensor:
    """One weight of a file; ``bytes_each``: of a number in it."""

    name: str
    shape: Sequence[int]
    bytes_each: float

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Memory:
    """Gigabytes (10^9 bytes) of one process; ``how`` says how each was computed."""

    weights_gb: float
    step_gb: float
    trained: int
    how: str


def steps_of(config: JobConfig, train_rows: int) -> int:
    """Optimizer steps, as the Trainer counts them; with packing, the most that it can be."""
    training = config.training
    if training.max_steps is not None:
        return training.max_steps
    batches = math.ceil(train_rows / (training.batch_size * training.processes))
    a_pass = max(1, math.ceil(batches / training.gradient_accumulation_steps))
    return math.ceil(float(training.num_epochs) * a_pass)


def memory_of(config: JobConfig, model: Path, max_length: int) -> Memory | None:
    """What one process takes; None if the folder has no whole weights."""
    tensors = list(_tensors(model))
    if not tensors or not (model / "config.json").is_file():
        return None
    shape = json.loads((model / "config.json").read_bytes())
    return memory_for(config, tensors, shape, max_length)


def memory_for(
    config: JobConfig, tensors: Sequence[Tensor], shape: Mapping[str, Any], max_length: int
) -> Memory:
    """What one process takes for a model of these weights; ``shape`` is its ``config.json``."""
    training = config.training
    every = sum(tensor.count for tensor in tensors)
    if training.use_lora:
        rank = (config.lora or LoraConfig()).r
        layers = [t for t in tensors if len(t.shape) == 2 and "proj" in t.name]
        trained = sum(rank * sum(tensor.shape) for tensor in layers)
        asked = training.quantization or {}
        quantised = [size for name, size in _FROZEN_BYTES.items() if asked.get(name)]
        kept_as_is = sum(t.count * t.bytes_each for t in tensors)
        saved = sum(t.count * (t.bytes_each - quantised[0]) for t in layers) if quantised else 0
        frozen = kept_as_is - saved  # embeddings and head are not quantised
        weights, kept = frozen + _FULL_BYTES * trained, "frozen weights as they are loaded"
    else:
        trained, weights, kept = every, float(_FULL_BYTES * every), "no frozen weights"
    tokens = training.batch_size * max_length
    each = 2 if training.gradient_checkpointing else _ACTIVATION_BYTES
    layers_of = _number(shape, "num_hidden_layers") * _number(shape, "hidden_size") * each
    step = tokens * (layers_of + _LOGIT_BYTES * _number(shape, "vocab_size"))
    how = (
        f"{kept}; {trained:,} trained ones of {_FULL_BYTES} bytes (weight, gradient, AdamW in "
        f"float32; in bfloat16 half); a step: {tokens:,} tokens of {each} bytes for each layer and "
        "hidden unit, and their logits"
    )
    return Memory(weights / GB, step / GB, trained, how)


def _number(shape: Mapping[str, Any], name: str) -> int:
    found = shape.get(name) or (shape.get("text_config") or {}).get(name)
    return found if isinstance(found, int) else 0


def _tensors(folder: Path) -> Iterator[Tensor]:
    """From the headers of the files (https://github.com/huggingface/safetensors#format)."""
    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_HEADER_LENGTH_BYTES), "little")
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                yield Tensor(name, tensor["shape"], sizes.get(tensor["dtype"], 1))
