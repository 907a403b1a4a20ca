"""Reward model: its loss is its formula, however pairs are batched, and padding is no text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.nn.functional import logsigmoid
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig

from tasks.errors import ModelError
from tasks.methods.reward_model import ScoringTrainer
from tasks.models.kind import check_kind
from tasks.trial.scores import hold_scores
from tests.support.models import make_tiny_reward_model
from tests.support.plain_losses import PAIRS, by_hand, first_log

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # within trl


@pytest.fixture(scope="module")
def judge(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_reward_model(tmp_path_factory.mktemp("models") / "judge", tiny_model)


def model_of(judge: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(judge).eval()


def trainer_of(judge: Path, tmp_path: Path) -> Any:
    return ScoringTrainer(
        model=model_of(judge),
        args=RewardConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            optim="sgd",
            max_grad_norm=0.0,
            num_train_epochs=1,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            per_device_train_batch_size=4,
            per_device_eval_batch_size=4,
            gradient_accumulation_steps=4,
        ),
        train_dataset=Dataset.from_list(PAIRS),
        eval_dataset=Dataset.from_list(PAIRS),
        processing_class=AutoTokenizer.from_pretrained(judge),
    )


def loss_of(model: Any) -> torch.Tensor:
    """Each text on its own, without padding."""

    def score(pair: dict[str, Any], name: str) -> torch.Tensor:
        found: torch.Tensor = model(torch.tensor([pair["prompt_ids"] + pair[name]])).logits[0, 0]
        return found

    margins = [score(pair, "chosen_ids") - score(pair, "rejected_ids") for pair in PAIRS]
    return -logsigmoid(torch.stack(margins)).mean()


def test_its_loss_is_its_formula(judge: Path, tmp_path: Path) -> None:
    loss, norm = by_hand(loss_of, model_of(judge))
    made = trainer_of(judge, tmp_path)
    assert made.evaluate()["eval_loss"] == pytest.approx(loss, rel=2e-5)
    logged = first_log(made)
    assert logged["loss"] == pytest.approx(loss, rel=2e-5)
    assert logged["grad_norm"] == pytest.approx(norm, rel=2e-4)


def test_a_model_that_takes_padding_for_text_is_refused(judge: Path, tmp_path: Path) -> None:
    made = trainer_of(judge, tmp_path)
    assert hold_scores(made, "it")["apart"] < 1e-5
    made.model.config.pad_token_id = 500
    with pytest.raises(ModelError, match="its padding is not told from its text"):
        hold_scores(made, "it")


def test_what_gives_several_numbers_is_refused(judge: Path) -> None:
    config = AutoConfig.from_pretrained(judge)
    check_kind(config, "it", trust_remote_code=False, scores=True)
    config.num_labels = 3
    with pytest.raises(ModelError, match="gives 3 numbers for a text, not one"):
        check_kind(config, "it", trust_remote_code=False, scores=True)
    with pytest.raises(ModelError, match="classifies whole texts"):
        check_kind(config, "it", trust_remote_code=False)
