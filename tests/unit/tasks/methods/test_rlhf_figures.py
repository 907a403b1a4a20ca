"""Sampled answers: an eval counts each of them once, and accumulation is one batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import GRPOConfig, RLOOConfig

from tasks.methods.rlhf import GroupRelativeTrainer, LeaveOneOutTrainer, weighted_mean

pytestmark = pytest.mark.filterwarnings("ignore")  # trl, of its own settings

CHOICES = {
    "rloo": (LeaveOneOutTrainer, RLOOConfig),
    "grpo": (GroupRelativeTrainer, GRPOConfig),
}
ROWS = [
    {"prompt": text, "score": score}
    for text, score in (("What is 1", 1.0), ("def add", 4.0), ("The quick", 7.0))
]


def score(completions: list[str], score: list[float], **_: Any) -> list[float]:
    return score


def letters(completions: list[str], **_: Any) -> list[float]:
    return [sum(ord(letter) for letter in text) % 7 for text in completions]


def make(name: str, tiny_model: Path, output: Path, reward: Any, **settings: Any) -> Any:
    set_seed(5)
    made, config = CHOICES[name]
    arguments = config(
        output_dir=str(output),
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        num_generations=2,
        max_completion_length=6,
        max_steps=1,
        logging_steps=1,
        learning_rate=0.0,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        **settings,
    )
    return made(
        model=AutoModelForCausalLM.from_pretrained(tiny_model),
        reward_funcs=[reward],
        args=arguments,
        train_dataset=Dataset.from_list(ROWS * 4),
        eval_dataset=Dataset.from_list(ROWS),
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
    )


@pytest.mark.parametrize("name", CHOICES)
def test_an_eval_is_a_mean_over_its_answers(name: str, tiny_model: Path, tmp_path: Path) -> None:
    """Two prompts, then one."""
    made = make(
        name,
        tiny_model,
        tmp_path,
        score,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
    )
    found = made.evaluate()
    assert found["eval_reward"] == pytest.approx(4.0)
    assert math.isfinite(found["eval_loss"])


@pytest.mark.parametrize("name", CHOICES)
def test_accumulation_is_one_batch(name: str, tiny_model: Path, tmp_path: Path) -> None:
    found = []
    for batch, accumulation in ((8, 1), (4, 2)):
        made = make(
            name,
            tiny_model,
            tmp_path,
            letters,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
        )
        made.train()
        logged = next(e for e in made.state.log_history if "loss" in e)
        found.append((logged["loss"], logged["grad_norm"]))
    assert found[0][1] > 0
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-7)


def test_a_reward_that_a_batch_has_not_is_left_out() -> None:
    assert weighted_mean([1.0, math.nan, 4.0], [2, 5, 4]) == pytest.approx(3.0)
    assert math.isnan(weighted_mean([math.nan], [3]))
