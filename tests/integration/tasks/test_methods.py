"""Every method on one fixed model: the losses that it must give, full and with LoRA."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import make_tiny_model, make_tiny_reward_model
from tests.support.training import Preloaded, run_training, write_jsonl
from trainyard.contract.events import Metric

SUMS = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}."} for n in range(24)]
PAIRS = [
    {
        "prompt": f"What is {n} plus 1?",
        "chosen": f"It is {n + 1}.",
        "rejected": f"{n}" * (n % 3 + 1),
    }
    for n in range(24)
]
MARKED = [
    {"prompt": pair["prompt"], "completion": pair[name], "label": name == "chosen"}
    for pair in PAIRS
    for name in ("chosen", "rejected")
]
TEXT = "\n\n".join(f"{n} plus 1 is {n + 1}.\nAnd so on, line by line." for n in range(40))
LORA = {"use_lora": True, "lora_config": {"r": 4, "dropout": 0.0}}
RLHF = {"method": "rlhf", "batch_size": 8, "max_length": 96, "max_steps": 2}
ANSWERS = {"num_generations": 4, "max_completion_length": 12}


@dataclass(frozen=True)
class Case:
    """What is trained, and the ``figure`` (a metric) of each of its steps."""

    training: dict[str, Any]
    expected: list[float]
    dataset: str = "sums.jsonl"
    data: dict[str, Any] = field(default_factory=dict)
    figure: str = "train_loss"


CASES = {
    "sft": Case({}, [6.19399, 5.62264, 4.70429, 4.18029]),
    "sft, lora": Case(LORA, [6.19399, 5.92617, 5.81616, 5.52819]),
    # Packed, but apart: the losses of all rows in one step are those of the rows one by one.
    "sft, one batch": Case({"batch_size": 24, "max_steps": 3}, [6.19673, 5.50355, 4.56281]),
    "sft, one packed batch": Case(
        {"batch_size": 24, "max_steps": 3, "packing": True, "max_length": 128},
        [6.19673, 5.50355, 4.56281],
    ),
    "cpt": Case(
        {"method": "cpt", "max_length": 64}, [6.22277, 5.5496, 4.7554, 4.38543], "play.txt"
    ),
    "cpt, lora": Case(
        {"method": "cpt", "max_length": 64, **LORA},
        [6.22277, 6.03354, 5.98107, 5.91236],
        "play.txt",
    ),
    "dpo": Case(
        {"method": "dpo", "beta": 0.2}, [0.69315, 0.36866, 0.20803, 0.11562], "pairs.jsonl"
    ),
    "dpo, ipo": Case(
        {"method": "dpo", "beta": 0.2, "loss_type": "ipo"},
        [6.25, 4.32676, 2.15153, 0.9488],
        "pairs.jsonl",
    ),
    "dpo, lora": Case(
        {"method": "dpo", "beta": 0.2, **LORA}, [0.69315, 0.54326, 0.47971, 0.41239], "pairs.jsonl"
    ),
    "orpo": Case(
        {"method": "orpo", "beta": 0.2}, [6.31733, 5.6866, 4.81405, 4.31262], "pairs.jsonl"
    ),
    "orpo, lora": Case(
        {"method": "orpo", "beta": 0.2, **LORA}, [6.31733, 6.07404, 5.96892, 5.78214], "pairs.jsonl"
    ),
    "simpo": Case({"method": "simpo"}, [1.33562, 0.47811, 0.20125, 0.14017], "pairs.jsonl"),
    "kto": Case({"method": "kto"}, [0.5, 0.458, 0.4332, 0.4308], "marked.jsonl"),
    "kto, lora": Case({"method": "kto", **LORA}, [0.5, 0.479, 0.4693, 0.4687], "marked.jsonl"),
    "reward_model": Case(
        {"method": "reward_model"}, [0.68878, 0.65374, 0.6297, 0.25146], "pairs.jsonl"
    ),
    "reward_model, lora": Case(
        {"method": "reward_model", "merge_adapter": True, **LORA},
        [0.68878, 0.49922, 0.63759, 0.35231],
        "pairs.jsonl",
    ),
    # The loss of answers of the model's own is zero at each step's begin; its gradient is not.
    "rlhf, rloo, function": Case(
        {**RLHF, "rlhf": {"reward_functions": ["brevity"], **ANSWERS}},
        [0.13018, 0.74591],
        figure="grad_norm",
    ),
    "rlhf, rloo, lora, reward model": Case(
        {**RLHF, "rlhf": {"reward_model": "judge", **ANSWERS}, **LORA},
        [0.36393, 0.47135],
        figure="grad_norm",
    ),
    "grpo, both": Case(
        {
            **RLHF,
            "method": "grpo",
            "rlhf": {
                "reward_model": "judge",
                "reward_functions": ["answer", "format"],
                **ANSWERS,
            },
        },
        [1.45214, 1.03861],
        figure="grad_norm",
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    make_tiny_model(root / "tiny")
    make_tiny_reward_model(root / "judge", root / "tiny")
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_jsonl(home / "datasets" / "sums.jsonl", SUMS)
    write_jsonl(home / "datasets" / "pairs.jsonl", PAIRS)
    write_jsonl(home / "datasets" / "marked.jsonl", MARKED)
    (home / "datasets" / "play.txt").write_text(TEXT)
    return home


def request(name: str, case: Case) -> dict[str, Any]:
    settings = {
        "max_steps": 4,
        "batch_size": 4,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    return {
        "execution_id": "".join(c if c.isalnum() else "-" for c in name),
        "dataset_path": case.dataset,
        "config": {
            "model": {"name": "tiny"},
            "training": {**settings, **case.training},
            "data": case.data,
        },
    }


@pytest.mark.parametrize("name", CASES)
def test_a_method_gives_its_losses(
    name: str, models: Path, home: Path, preloaded: Preloaded
) -> None:
    case = CASES[name]
    run = run_training(home, request(name, case), models=models, preloaded=preloaded)
    assert run.outcome.outcome == "completed", run.log
    found = [getattr(metric, case.figure) for metric in run.of(Metric)]
    assert found == pytest.approx(case.expected, rel=2e-3, abs=2e-5)
    weights = "adapter_model.safetensors" if "lora" in name else "model.safetensors"
    assert (run.job_dir / "model" / weights).is_file()


@pytest.mark.parametrize(("lora", "result"), [({}, "model"), (LORA, "model/merged")])
def test_a_reward_model_that_was_trained_rewards(
    lora: dict[str, Any], result: str, models: Path, home: Path, preloaded: Preloaded
) -> None:
    training = {"method": "reward_model", "merge_adapter": bool(lora), **lora}
    asked = request(f"judge-{len(lora)}", Case(training, [], "pairs.jsonl"))
    run = run_training(home, asked, models=models, preloaded=preloaded)
    assert run.outcome.outcome == "completed", run.log
    assert "same score by itself and in a batch" in run.log
    assert "AutoModelForSequenceClassification" in (run.job_dir / "model/README.md").read_text()
    shutil.copytree(run.job_dir / result, models / f"own-{len(lora)}")
    rewarded = {**RLHF, "rlhf": {"reward_model": f"own-{len(lora)}", **ANSWERS}}
    run = run_training(
        home, request(f"by-{len(lora)}", Case(rewarded, [])), models=models, preloaded=preloaded
    )
    assert run.outcome.outcome == "completed", run.log


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": {"method": "cpt"}}, "cpt trains on plain text"),
        ({"training": {"method": "orpo"}}, "chosen and rejected"),
        (
            {"training": {**RLHF, "rlhf": {"reward_model": "tiny", **ANSWERS}}},
            "gives 2 numbers for a text",
        ),
        (
            {"training": {"use_lora": True, "quantization": {"load_in_4bit": True}}},
            "needs a CUDA GPU",
        ),
    ],
)
def test_what_a_method_cannot_use_is_said(
    changes: dict[str, Any], said: str, models: Path, home: Path, preloaded: Preloaded
) -> None:
    asked = request(f"bad-{said[:3]}", Case(changes["training"], []))
    run = run_training(home, asked, models=models, preloaded=preloaded)
    assert run.outcome.error is not None
    assert said in f"{run.outcome.error.message} {run.outcome.error.hint}"


def test_code_of_a_hub_is_refused_wherever_it_is_named(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    asked = request("kernel", Case({}, []))
    asked["config"]["model"]["attn_implementation"] = "somebody/attention"
    shutil.copytree(models / "tiny", models / "named")
    path = models / "named" / "config.json"
    inner = {"text_config": {"_attn_implementation": "somebody/attention"}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **inner}))
    other = request("kernel-in-config", Case({}, []))
    other["config"]["model"]["name"] = "named"
    for wanted in (asked, other):
        run = run_training(home, wanted, models=models, preloaded=preloaded)
        assert run.outcome.error is not None, run.log
        assert "names code of a hub" in run.outcome.error.message
