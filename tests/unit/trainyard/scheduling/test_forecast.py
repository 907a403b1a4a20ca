"""Forecasts, held against figures that were counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainyard.contract.config import JobConfig
from trainyard.scheduling.forecast import memory_of, steps_of


def config(**training: Any) -> JobConfig:
    return JobConfig.model_validate({"model": {"name": "m"}, "training": training})


@pytest.mark.parametrize(
    ("training", "steps"),
    [
        ({"batch_size": 4, "gradient_accumulation_steps": 1, "num_epochs": 1}, 25),
        ({"batch_size": 4, "gradient_accumulation_steps": 4, "num_epochs": 3}, 21),
        ({"batch_size": 64, "gradient_accumulation_steps": 8, "num_epochs": 2}, 2),
        ({"batch_size": 4, "gradient_accumulation_steps": 1, "num_epochs": 0.5}, 13),
        ({"batch_size": 4, "max_steps": 7}, 7),
    ],
)
def test_steps_of_a_hundred_rows(training: dict[str, Any], steps: int) -> None:
    assert steps_of(config(**training), 100) == steps


def test_memory_of_full_and_of_an_adapter(tmp_path: Path) -> None:
    shape = {"num_hidden_layers": 2, "hidden_size": 100, "vocab_size": 1000}
    (tmp_path / "config.json").write_text(json.dumps(shape))
    weights = {"q_proj": [100, 100], "embed": [1000, 100]}
    header = json.dumps({n: {"dtype": "BF16", "shape": s} for n, s in weights.items()}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    how: dict[str, Any] = {"batch_size": 2, "gradient_checkpointing": False}
    full = memory_of(config(**how), tmp_path, 50)
    assert full is not None
    assert full.trained == 110_000
    assert full.weights_gb == pytest.approx(110_000 * 16 / 1e9)
    assert full.step_gb == pytest.approx(100 * (2 * 100 * 34 + 1000 * 8) / 1e9)
    adapter = memory_of(config(**how, use_lora=True), tmp_path, 50)
    assert adapter is not None
    assert adapter.trained == 16 * 200
    assert adapter.weights_gb == pytest.approx((110_000 * 2 + 16 * 200 * 16) / 1e9)
    four = {"quantization": {"load_in_4bit": True}}
    quantised = memory_of(config(**how, **four, use_lora=True), tmp_path, 50)
    assert quantised is not None
    linear, embeddings = 10_000 * 0.55, 100_000 * 2
    assert quantised.weights_gb == pytest.approx((linear + embeddings + 16 * 200 * 16) / 1e9)
    assert memory_of(config(**how), tmp_path / "none", 50) is None
