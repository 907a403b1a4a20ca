"""Recipes on one GPU: tokens per second, share of the chip's bf16 peak, peak memory.

A Llama of a billion parameters, rows of up to 1,024 tokens. The plain recipe is fp16 with every row
padded to the full length; ours are packed and padding-free in bf16, as the worker trains. Skipped
where there is no GPU. Run by hand with ``python -m benchmarks.gpu`` it prints one line a recipe.
"""

from __future__ import annotations

import gc
import json
import random
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.measure import Measure, Target
from trainyard.contract.units import GB

LENGTH = 1024
_STEPS, _WARM_UP = 20, 5
_PEAK_BF16_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Dense bf16, from NVIDIA's data sheets."""
_LLAMA_1B = {
    "vocab_size": 32_000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": LENGTH,
}
_COMMON = {
    "max_length": LENGTH,
    "per_device_train_batch_size": 8,
    "max_steps": _STEPS,
    "learning_rate": 1e-5,
    "optim": "adamw_torch_fused",
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "plain": {"fp16": True, "bf16": False, "optim": "adamw_torch", "pad_to_multiple_of": LENGTH},
    "bf16": {"bf16": True},
    "bf16, packed": {"bf16": True, "packing": True, "packing_strategy": "bfd"},
    "bf16, packed, compiled": {
        "bf16": True,
        "packing": True,
        "packing_strategy": "bfd",
        "torch_compile": True,
    },
    "bf16, packed, checkpointed": {
        "bf16": True,
        "packing": True,
        "packing_strategy": "bfd",
        "gradient_checkpointing": True,
    },
}


def flops_per_token(parameters: int) -> float:
    """Of forward and backward: 6 for each parameter, and 12 * layers * width * length of attention
    (Chowdhery et al. 2022, arXiv:2204.02311, appendix B)."""
    attention = 12 * _LLAMA_1B["num_hidden_layers"] * _LLAMA_1B["hidden_size"] * LENGTH
    return 6.0 * parameters + attention


def rows(count: int = 2000) -> list[dict[str, list[int]]]:
    """Token ids of rows between 64 and 1,024 tokens, most of them short."""
    draw = random.Random(0)
    made = []
    for _ in range(count):
        length = min(LENGTH, 64 + int(draw.expovariate(1 / 250)))
        ids = [draw.randrange(3, _LLAMA_1B["vocab_size"]) for _ in range(length)]
        made.append({"input_ids": ids, "labels": ids})
    return made


def run_recipe(name: str) -> dict[str, Any]:
    """Train a few steps by one recipe. ``tokens_per_second`` counts real ones, without padding."""
    import datasets
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    ends: list[float] = []
    tokens: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            ends.append(time.monotonic())

        def on_log(self, *_: Any, logs: Mapping[str, Any] | None = None, **__: Any) -> None:
            if logs and "num_tokens" in logs:
                tokens.append(logs["num_tokens"])

    torch.manual_seed(0)
    recipe = dict(RECIPES[name])
    dtype = torch.float32 if recipe.get("fp16") else torch.bfloat16
    model = LlamaForCausalLM(LlamaConfig(**_LLAMA_1B)).to("cuda", dtype)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), eos_token="<eos>", pad_token="<pad>"
    )
    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as output:
        trainer = SFTTrainer(
            model=model,
            processing_class=tokenizer,
            args=SFTConfig(output_dir=output, **{**_COMMON, **recipe}),
            train_dataset=datasets.Dataset.from_list(rows()),
            callbacks=[Clock()],
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    rate = (tokens[-1] - tokens[_WARM_UP]) / (ends[-1] - ends[_WARM_UP])
    device = torch.cuda.get_device_name()
    peak = next((peak for chip, peak in _PEAK_BF16_FLOPS.items() if chip in device), None)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "recipe": name,
        "device": device,
        "tokens_per_second": rate,
        "share_of_bf16_peak": rate * flops_per_token(parameters) / peak if peak else None,
        "peak_memory_gb": torch.cuda.max_memory_allocated() / GB,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def all_recipes() -> list[dict[str, Any]]:
    """The figures of every recipe; empty where there is no GPU."""
    import torch

    found = []
    if torch.cuda.is_available():
        for name in RECIPES:
            found.append(run_recipe(name))
            gc.collect()
            torch.cuda.empty_cache()
    return found


def recipes(full: bool = False) -> list[Measure]:
    """Rows of the table; none where there is no GPU."""
    found = all_recipes()
    plain = [one["tokens_per_second"] for one in found[:1]]
    measures = []
    for one in found:
        share = f"{one['share_of_bf16_peak']:.0%} of peak, " if one["share_of_bf16_peak"] else ""
        note = f"{share}{one['peak_memory_gb']:.1f} GB"
        target = Target("ratio", ">=", 2.0) if one["recipe"] == "bf16, packed" else None
        rate = [one["tokens_per_second"]]
        measures.append(
            Measure(f"gpu: {one['recipe']}", "tokens/s", rate, plain, "plain", target, note=note)
        )
    return measures


if __name__ == "__main__":
    for figures in all_recipes() or [{"skipped": "no GPU"}]:
        print(json.dumps(figures))
