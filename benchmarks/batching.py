"""Batching: rows of mixed length drawn at random, grouped by length, and packed, on real rows.

    batching_grouped, batching_packed              tokens a second, beside rows at random
    batching_grouped_loss, batching_packed_loss    eval loss after the same tokens, beside the same

A small Llama with a tokenizer of its own learns GSM8K's answers, each arm once with each seed. A
packed row is as long as about three others, so that a step has the same number of tokens in each
arm; ``batching_packed_steps_loss`` leaves the batch size as it is, as a default of packing would.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Measure
from tests.support.paths import SHARED_DATA
from tests.support.training import Preloaded, run_training
from trainyard.contract.events import Metric

SEEDS = (1, 2, 3)
BATCH, LENGTH = 12, 512
"""Rows of a step, and of a packed one's tokens: as many as three rows or a little more have."""
ARMS: Mapping[str, Mapping[str, Any]] = {
    "random": {"batch_size": BATCH},
    "grouped": {"batch_size": BATCH, "group_by_length": True},
    "packed": {"batch_size": BATCH // 3, "packing": True},
    "packed_steps": {"batch_size": BATCH, "packing": True},
}


@dataclass(frozen=True)
class _Trained:
    tokens_per_s: float
    eval_loss: float


def batching(full: bool = False) -> list[Measure]:
    """The rows of each arm beside those at random. Raises FileNotFoundError without the data."""
    trained: dict[str, list[_Trained]] = {name: [] for name in ARMS}
    epochs = 6 if full else 2
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as folder, Preloaded() as preloaded:
        home = Path(folder)
        _make_model(home / "models" / "small")
        (home / "datasets").mkdir()
        for name in ("gsm8k_train.jsonl", "gsm8k_test.jsonl"):
            shutil.copy(SHARED_DATA / name, home / "datasets" / name)
        for seed in SEEDS:
            for name, training in ARMS.items():
                trained[name].append(_train(home, preloaded, name, seed, epochs, training))
    plain = trained.pop("random")
    note = f"{len(SEEDS)} seeds, {epochs} epochs of 2,000 rows"
    rates = [one.tokens_per_s for one in plain]
    losses = [one.eval_loss for one in plain]
    return [
        row
        for name, arm in trained.items()
        for row in (
            Measure(f"batching_{name}", "tokens/s", [one.tokens_per_s for one in arm], rates,
                    "at random", note=note),
            Measure(f"batching_{name}_loss", "nats", [one.eval_loss for one in arm], losses,
                    "at random", note=note),
        )
    ]  # fmt: skip


def _train(
    home: Path,
    preloaded: Preloaded,
    name: str,
    seed: int,
    epochs: int,
    training: Mapping[str, Any],
) -> _Trained:
    request = {
        "execution_id": f"{name}-{seed}",
        "dataset_path": "gsm8k_train.jsonl",
        "eval_dataset_path": "gsm8k_test.jsonl",
        "config": {
            "model": {"name": "small"},
            "seed": seed,
            "training": {
                **{"use_lora": False, "num_epochs": epochs, "max_length": LENGTH},
                **{"learning_rate": 1e-3, "warmup_ratio": 0.05, "logging_steps": 10},
                **{"eval_strategy": "epoch", "save_strategy": "no", "verify_result": False},
                **training,
            },
        },
    }
    run = run_training(home, request, models=home / "models", preloaded=preloaded)
    if run.outcome.error is not None:
        raise RuntimeError(f"{name}: {run.outcome.error.message}")
    points = run.of(Metric)
    rate = [point.tokens_per_second for point in points if point.tokens_per_second][-1]
    return _Trained(rate, [point.eval_loss for point in points if point.eval_loss][-1])


def _make_model(folder: Path) -> None:
    """A Llama of 3 million parameters, and a tokenizer of 2,048 tokens learned from the rows."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    lines = (SHARED_DATA / "gsm8k_train.jsonl").read_text(encoding="utf-8").splitlines()
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((" ".join(json.loads(line).values()) for line in lines), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>"
    )
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
