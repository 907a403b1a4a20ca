"""Dtype of a result: the base model's own, or the one that was asked for."""

from __future__ import annotations

import json
import logging
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor
from transformers.core_model_loading import build_glob_alternation

logger = logging.getLogger(__name__)

_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""What safetensors calls them, and torch."""
_HEADER_LENGTH_BYTES = 8


def dtype_of_files(folder: Path) -> str | None:
    """torch's name for the dtype of most of the weights in ``folder``; None if it is another one.

    Reads the headers of its safetensors files only
    (https://github.com/huggingface/safetensors#format).
    """
    weights = Counter[str]()
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_HEADER_LENGTH_BYTES), "little")
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                weights[tensor["dtype"]] += prod(tensor["shape"])
    return _NAMES.get(weights.most_common(1)[0][0]) if weights else None


def choose_dtype(asked: str | None, model: Any, base: Path) -> str:
    """The dtype that the result is saved in, which is said. ``base``: the base model's folder.

    An adapter stays as it was trained: it is small, and so are its steps.
    """
    trained = next(weight for weight in model.parameters() if weight.requires_grad)
    held = str(trained.dtype).removeprefix("torch.")
    if asked is not None:
        dtype, why = asked, "as asked"
    elif hasattr(model, "peft_config"):
        dtype, why = held, "as it was trained"
    else:
        dtype, why = dtype_of_files(base) or held, "the base model's own"
    logger.info("The result is saved in %s, %s (it was trained in %s)", dtype, why, held)
    return dtype


def round_weights(model: Any, dtype: str) -> None:
    """Round the weights of ``model`` to ``dtype``, as it will be saved; they stay as they are held.

    What is said of the model after this is said of the one that is saved.
    """
    with torch.no_grad():
        for weight in _to_be(model, dtype):
            local = weight.to_local() if isinstance(weight, DTensor) else weight
            local.copy_(local.to(getattr(torch, dtype)))


def hold_as_saved(model: Any, dtype: str) -> None:
    """Hold the weights in ``dtype``: what is written is what is held."""
    for weight in _to_be(model, dtype):
        weight.data = weight.data.to(getattr(torch, dtype))


def cast_files(folder: Path, dtype: str) -> None:
    """Cast what was written of a model that no process holds whole."""
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        cast = {
            name: tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()
        }
        save_file(cast, path, metadata={"format": "pt"})


def _to_be(model: Any, dtype: str) -> list[torch.nn.Parameter]:
    """The weights that are of ``dtype`` in a file: an adapter's, or all but those that an
    architecture keeps in float32."""
    if hasattr(model, "peft_config"):
        return [weight for weight in model.parameters() if weight.requires_grad]
    kept = list(model._get_dtype_plan(getattr(torch, dtype)))
    pattern = build_glob_alternation(kept)[0] if kept else None
    return [
        weight
        for name, weight in model.named_parameters()
        if weight.is_floating_point() and not (pattern and pattern.search(name))
    ]


def say_dtype(folder: Path, dtype: str) -> None:
    """Let config.json say it, wherever it names one: it is what ``from_pretrained`` goes by."""
    path = folder / "config.json"
    config = _with_dtype(json.loads(path.read_bytes()), dtype)
    path.write_text(json.dumps({**config, "dtype": dtype}, indent=2) + "\n", encoding="utf-8")


def _with_dtype(value: Any, dtype: str) -> Any:
    if isinstance(value, list):
        return [_with_dtype(item, dtype) for item in value]
    if isinstance(value, dict):
        return {
            key: dtype if key in ("dtype", "torch_dtype") else _with_dtype(inner, dtype)
            for key, inner in value.items()
        }
    return value
