"""A few steps of each method on real data: the loss falls, or learns to prefer what was chosen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import make_tiny_model
from tests.support.paths import SHARED_DATA
from tests.support.training import Preloaded, run_training
from trainyard.contract.events import Metric

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data is not here"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    make_tiny_model(root / "tiny")
    return root


@pytest.fixture(scope="module")
def preloaded() -> Iterator[Preloaded]:
    with Preloaded() as process:
        yield process


@pytest.mark.parametrize(
    ("name", "training", "rows"),
    [
        ("gsm8k_train.jsonl", {"method": "sft"}, 400),
        ("codegen_instruct.json", {"method": "sft", "packing": True}, 400),
        ("tinyshakespeare.txt", {"method": "cpt", "max_length": 128}, None),
        # Pairs differ so much in length that a loss tells something on the same ones alone.
        ("gsm8k_preferences.jsonl", {"method": "dpo", "learning_rate": 3e-4, "batch_size": 16}, 16),
        ("gsm8k_preferences.jsonl", {"method": "orpo", "beta": 0.5}, 200),
    ],
    ids=["sft", "sft-packed", "cpt", "dpo", "orpo"],
)
def test_a_few_steps_lower_the_loss(
    name: str,
    training: dict[str, Any],
    rows: int | None,
    models: Path,
    tmp_path: Path,
    preloaded: Preloaded,
) -> None:
    (tmp_path / "datasets").mkdir()
    shutil.copy(SHARED_DATA / name, tmp_path / "datasets" / name)
    steps = {"max_steps": 12, "batch_size": 4, "learning_rate": 0.003, "logging_steps": 1}
    request = {
        "execution_id": "real",
        "dataset_path": name,
        "config": {
            "model": {"name": "tiny"},
            "training": {**steps, **training},
            "data": {} if rows is None else {"max_samples": rows},
        },
    }
    run = run_training(tmp_path, request, models=models, preloaded=preloaded)
    assert run.outcome.outcome == "completed", run.log
    losses = [metric.train_loss for metric in run.of(Metric) if metric.train_loss is not None]
    assert len(losses) == 12
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3]), losses
    assert (run.job_dir / "model" / "model.safetensors").exists()
