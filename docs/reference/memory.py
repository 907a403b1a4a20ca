"""Page docs/memory.md: what models take of a GPU's memory, as `submit --dry-run` forecasts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard.contract.config import JobConfig
from trainyard.scheduling.forecast import Tensor, memory_for

MODELS: Mapping[str, tuple[int, ...]] = {
    "Qwen/Qwen3-0.6B": (28, 1024, 3072, 16, 8, 128, 151_936, 1),
    "meta-llama/Llama-3.2-1B": (16, 2048, 8192, 32, 8, 64, 128_256, 1),
    "Qwen/Qwen3-1.7B": (28, 2048, 6144, 16, 8, 128, 151_936, 1),
    "Qwen/Qwen3-4B": (36, 2560, 9728, 32, 8, 128, 151_936, 1),
    "meta-llama/Llama-3.1-8B": (32, 4096, 14_336, 32, 8, 128, 128_256, 0),
    "Qwen/Qwen3-8B": (36, 4096, 12_288, 32, 8, 128, 151_936, 0),
    "Qwen/Qwen3-14B": (40, 5120, 17_408, 40, 8, 128, 151_936, 0),
}
"""Of their ``config.json``: layers, hidden size, intermediate size, heads, heads of keys, size of a
head, words, and whether the embeddings are the head too."""
TOKENS = 2048
_QUANTISED = {"load_in_4bit": True}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "full": {},
    "LoRA": {"use_lora": True},
    "QLoRA, 4 bits": {"use_lora": True, "quantization": _QUANTISED},
}

_HEAD = f"""# Memory

What a training takes of a GPU's memory, in GB (10^9 bytes), as `trainyard submit --dry-run`
forecasts it from a model's files: weights, gradients and AdamW's moments, and in brackets what a
step computes with, for one row of {TOKENS:,} tokens (`batch_size: 1`, `max_length: {TOKENS}`) and
`gradient_checkpointing: true`. Add a GB for CUDA itself. It is computed, not measured: `--dry-run`
says it for your own model and settings, and a job's page shows what it takes.

| model | weights | {" | ".join(METHODS)} |
|---|---|{"---|" * len(METHODS)}
"""
_HOW = """
- **full**: 16 bytes of each weight: itself, its gradient, AdamW's two moments, in float32. A
  model that is loaded in bfloat16 (`model.torch_dtype`) takes half. `optim: adamw_bnb_8bit` takes
  less, too.
- **LoRA**: frozen weights of two bytes, and 16 bytes of each weight of an adapter of rank 16 on
  every linear layer.
- **QLoRA**: 0.55 bytes of each weight of a linear layer, scales included; embeddings and head
  stay as they are.
- **a step**: 2 bytes of each token, layer and hidden unit (34 without gradient checkpointing;
  Korthikanti et al. 2022, arXiv:2205.05198), and 8 bytes of each token and word for the logits.
  Twice the batch or the length takes twice this.
- `dpo` and `kto` of a whole model hold a frozen copy of it, too. With `strategy: fsdp` weights
  and moments are shared out between the GPUs. A batch that does not fit is halved
  (`retry_out_of_memory`).
"""


def as_markdown() -> str:
    """The page, with a row for every model."""
    return _HEAD + "".join(map(_row, MODELS)) + _HOW


def _row(name: str) -> str:
    layers, hidden, *_, words, _ = MODELS[name]
    shape = {"num_hidden_layers": layers, "hidden_size": hidden, "vocab_size": words}
    tensors = tensors_of(name)
    cells = []
    for settings in METHODS.values():
        training = {"batch_size": 1, "gradient_checkpointing": True, **settings}
        config = JobConfig.model_validate({"model": {"name": name}, "training": training})
        memory = memory_for(config, tensors, shape, TOKENS)
        cells.append(f"{memory.weights_gb:.1f} (+ {memory.step_gb:.1f})")
    count = sum(tensor.count for tensor in tensors)
    return f"| {name} | {count / 1e9:.2f} billion | {' | '.join(cells)} |\n"


def tensors_of(name: str) -> list[Tensor]:
    """The weights of one of MODELS, in bfloat16."""
    layers, hidden, inner, heads, keys, head, words, tied = MODELS[name]
    queries = heads * head
    shapes = {
        **{"q_proj": (queries, hidden), "o_proj": (hidden, queries)},
        **dict.fromkeys(("k_proj", "v_proj"), (keys * head, hidden)),
        **dict.fromkeys(("gate_proj", "up_proj"), (inner, hidden)),
        **{"down_proj": (hidden, inner), "input_norm": (hidden,), "other_norm": (hidden,)},
    }
    each = [Tensor(f"{n}.{what}", it, 2) for n in range(layers) for what, it in shapes.items()]
    ends = [Tensor("embed", (words, hidden), 2), Tensor("lm_head", (words, hidden), 2)]
    return each + ends[: 1 if tied else 2]
