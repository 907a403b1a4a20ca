"""Trainings that were completed with a wrong model: refused with the reason, or right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.architectures import make_architecture
from tests.support.training import Preloaded, Run, run_training, write_jsonl
from trainyard.contract.events import Phase

ROWS = [{"text": f"What is the answer to {n}? It is {n}, the other one."} for n in range(12)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_jsonl(home / "datasets" / "rows" / "train.jsonl", ROWS[:6])
    write_jsonl(home / "datasets" / "rows" / "test.jsonl", ROWS[6:])
    for kind, head in (
        ("bert", "AutoModelForCausalLM"),
        ("llama", "AutoModelForCausalLM"),
        ("modernbert-decoder", "AutoModelForCausalLM"),
        ("qwen3_5", "Qwen3_5ForConditionalGeneration"),
    ):
        make_architecture(home / "models" / kind, kind, head)
    return home


def train(home: Path, preloaded: Preloaded, model: str, **training: Any) -> Run:
    settings = "-".join(f"{name}-{value}" for name, value in training.items())
    request = {
        "execution_id": f"{model}-{settings}",
        "dataset_path": "rows",
        "config": {
            "model": {"name": model},
            "training": {"max_steps": 3, "batch_size": 2, "learning_rate": 0.01, **training},
        },
    }
    return run_training(home, request, models=home / "models", preloaded=preloaded)


@pytest.mark.parametrize(
    ("model", "training", "kind", "said"),
    [
        ("bert", {}, "model", "is not causal"),
        ("llama", {"optim": "lion_32bit"}, "configuration", "bitsandbytes"),
        ("llama", {"lr_scheduler_type": "cosine_with_min_lr"}, "configuration", "min_lr"),
    ],
)
def test_what_cannot_be_right_is_refused_before_the_first_step(
    model: str,
    training: dict[str, Any],
    kind: str,
    said: str,
    home: Path,
    preloaded: Preloaded,
) -> None:
    run = train(home, preloaded, model, **training)
    error = run.outcome.error
    assert error is not None, run.log
    assert (error.kind, said in error.message) == (kind, True), error
    phases = [phase.name for phase in run.of(Phase)]
    assert ("load_model" in phases) == (kind == "model")
    assert "train" not in phases


def test_the_loss_that_is_reported_is_the_saved_model_s(home: Path, preloaded: Preloaded) -> None:
    run = train(home, preloaded, "modernbert-decoder", eval_batch_size=1)
    assert run.outcome.outcome == "completed", run.log
    result = run.outcome.result
    assert result["trial"]["head"] == "plain"
    assert "the model's own forward" in run.log
    folder = run.job_dir / "model"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sums, count = 0.0, 0
    for row in ROWS[6:]:
        ids = tokenizer(row["text"], return_tensors="pt").input_ids
        ids = torch.cat([ids, torch.tensor([[tokenizer.eos_token_id]])], dim=1)
        with torch.no_grad():
            logits = model(ids).logits[0, :-1]
        sums += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    assert result["last_eval_loss"] == pytest.approx(sums / count, abs=1e-4)


@pytest.mark.parametrize("use_lora", [False, True])
def test_a_model_with_vision_comes_out_as_the_class_that_it_was(
    use_lora: bool, home: Path, preloaded: Preloaded
) -> None:
    run = train(home, preloaded, "qwen3_5", use_lora=use_lora)
    assert run.outcome.outcome == "completed", run.log
    folder = run.job_dir / "model"
    if use_lora:
        adapter = json.loads((folder / "adapter_config.json").read_text())
        assert not any("visual" in target for target in adapter["target_modules"])
        return
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["Qwen3_5ForConditionalGeneration"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which may have them")
def test_kernels_that_are_wished_for_and_not_there_leave_a_reason_in_the_result(
    home: Path, preloaded: Preloaded
) -> None:
    """A request that asks for them is refused with what to do."""
    run = train(home, preloaded, "llama", use_liger_kernel="auto")
    assert run.outcome.outcome == "completed", run.log
    assert run.outcome.result["kernels"] == "the model's own, since there is no CUDA GPU"
    assert "Adjusted: config.training.use_liger_kernel: auto → false" in run.log
    assert "kernels" not in train(home, preloaded, "llama").outcome.result
    error = train(home, preloaded, "llama", use_liger_kernel=True).outcome.error
    assert error is not None
    assert error.kind == "configuration"
    assert "config.training.use_liger_kernel: needs a CUDA GPU" in error.message
