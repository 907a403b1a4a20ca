"""Joined adapter: a new one and the one below it, which was merged, as one of the base model.

Both add to the same weights, so that their sum is a LoRA adapter again: with s their scales,
s1 B1 A1 + s2 B2 A2 = [s1 B1, s2 B2] [A1; A2]. It needs nothing but the base model, as any result.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file, save_file

from tasks.models.adapter import WEIGHTS_NAME
from tasks.models.origin import ADAPTER_NAME

_FIRST_FACTOR = re.compile(r"base_model\.model\.(.+)\.(lora_A\.weight|lora_embedding_A)")
Factors = tuple[torch.Tensor, torch.Tensor]


def join(folder: Path, origin: Path) -> None:
    """Make the adapter in ``folder`` the sum of itself and of the one in ``origin``."""
    parts = [_factors(origin), _factors(folder)]
    layers = dict.fromkeys(layer for part in parts for layer in part)
    of_layers = {name: [part[name] for part in parts if name in part] for name in layers}
    rank = max(sum(len(down) for down, _ in found) for found in of_layers.values())
    weights = dict[str, torch.Tensor]()
    dtype = next(iter(load_file(folder / WEIGHTS_NAME).values())).dtype
    for (layer, factor), found in of_layers.items():
        down = torch.cat([down for down, _ in found])
        up = torch.cat([up for _, up in found], dim=1)
        # All layers have one rank: if only one adapter adds something, the rest is 0.
        missing = rank - len(down)
        down = torch.nn.functional.pad(down, (0, 0, 0, missing))
        up = torch.nn.functional.pad(up, (0, missing))
        name = f"base_model.model.{layer}.{factor}"
        weights[name] = down.to(dtype).contiguous()
        weights[_second(name)] = up.to(dtype).contiguous()
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    said = json.loads((folder / ADAPTER_NAME).read_bytes())
    said |= {
        "r": rank,
        "lora_alpha": rank,
        "use_rslora": False,
        "target_modules": sorted({layer for layer, _ in layers}),
        "exclude_modules": None,
        "init_lora_weights": True,
    }
    (folder / ADAPTER_NAME).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def _factors(folder: Path) -> Mapping[tuple[str, str], Factors]:
    """A and s B of each layer, by its name and that of its first factor."""
    said = json.loads((folder / ADAPTER_NAME).read_bytes())
    weights, found = load_file(folder / WEIGHTS_NAME), {}
    for name, down in weights.items():
        if (layer := _FIRST_FACTOR.fullmatch(name)) is not None:
            up = weights[_second(name)] * _scale(said, layer[1])
            found[layer[1], layer[2]] = (down.float(), up.float())
    return found


def _second(name: str) -> str:
    return re.sub(r"lora_(embedding_)?A", lambda m: f"lora_{m[1] or ''}B", name)


def _scale(said: Mapping[str, Any], layer: str) -> float:
    """As PEFT scales the layer (arXiv:2106.09685, sec. 4.1; arXiv:2312.03732)."""
    ranks, alphas = said.get("rank_pattern") or {}, said.get("alpha_pattern") or {}
    rank = ranks.get(get_pattern_key(ranks, layer), said["r"])
    alpha = alphas.get(get_pattern_key(alphas, layer), said["lora_alpha"])
    return float(alpha / (math.sqrt(rank) if said.get("use_rslora") else rank))
