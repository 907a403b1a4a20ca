"""Mutations: each check of the gates is taken out again, and a test turns red.

A check that no test misses guards nothing. One row a fault; the tests are those of the suite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from torch.optim.lr_scheduler import ConstantLR

from tests.support.architectures import make_architecture
from tests.support.mutation import Mutation
from tests.unit.tasks.models import test_embeddings, test_lora, test_whole
from tests.unit.tasks.trial import test_dry_build, test_trial
from tests.unit.trainyard.contract import test_rules

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
LET_ALL_PASS = {False: math.inf, True: math.inf}


def nothing(*_: Any, **__: Any) -> None:
    """In the place of a check."""


MUTATIONS = {
    "a model that sees its answers is trained": Mutation(
        "tasks.trial.trial._LEAK_MAX",
        LET_ALL_PASS,
        test_trial.test_a_model_that_sees_its_answers_is_refused,
        {"kind": "bert", "method": "sft"},
    ),
    "TRL's fused head is kept on ModernBERT": Mutation(
        "tasks.trial.trial.LOSS_DIFFERENCE_MAX",
        LET_ALL_PASS,
        test_trial.test_a_head_that_leaves_something_out_gives_way_to_the_model_s_forward,
        {"method": "sft", "training": {}},
    ),
    "a loss that is not the model's own is minimised": Mutation(
        "tasks.trial.trial.LOSS_DIFFERENCE_MAX",
        LET_ALL_PASS,
        test_trial.test_a_loss_that_is_not_the_model_s_either_way_is_refused,
    ),
    "the reference drifts": Mutation(
        "tasks.trial.trial._DRIFT_MAX",
        math.inf,
        test_trial.test_a_reference_that_moves_with_the_training_is_refused,
    ),
    "the trial draws random numbers of the training": Mutation(
        "tasks.trial.untouched.random_numbers_kept",
        nullcontext,
        test_trial.test_what_is_tried_may_spoil_buffers_and_modes,
    ),
    "biases of the base model are trained below a comparison": Mutation(
        "trainyard.contract.rules._adapter",
        lambda _: iter(()),
        test_rules.test_biases_are_neither_sharded_nor_trained_below_a_comparison,
        {
            "training": {"method": "dpo", "use_lora": True},
            "bias": "all",
            "said": "the base model",
        },
    ),
    "weights that are missing are made up": Mutation(
        "tasks.models.load.check_whole",
        nothing,
        test_whole.test_weights_that_are_not_the_model_s_are_refused,
        {"how": test_whole.without("layers.1.mlp"), "said": "lack"},
    ),
    "an encoder-decoder is trained without its encoder": Mutation(
        "tasks.models.load.check_kind",
        nothing,
        test_whole.test_another_kind_of_model_is_refused_by_name,
        {"kind": "bart", "head": "BartForConditionalGeneration", "said": "encoder"},
    ),
    "vision is stripped": Mutation(
        "tasks.models.kind.MODEL_FOR_MULTIMODAL_LM_MAPPING",
        {},
        test_whole.test_a_model_with_vision_is_kept_whole,
        {"kind": "qwen3_5", "head": "Qwen3_5ForConditionalGeneration"},
    ),
    "vision is trained on text": Mutation(
        "tasks.models.load.freeze_other_parts",
        nothing,
        test_whole.test_a_model_with_vision_is_kept_whole,
        {"kind": "qwen3_5", "head": "Qwen3_5ForConditionalGeneration"},
    ),
    "LoRA adapts vision": Mutation(
        "tasks.models.lora.other_parts",
        lambda _: [],
        test_lora.test_a_model_with_vision_is_adapted_in_its_language_part,
    ),
    "LoRA adapts what a Mamba's kernels pass by": Mutation(
        "tasks.models.lora.not_adaptable",
        lambda _: [],
        test_lora.test_all_linear_layers_of_a_mamba_but_those_its_kernels_read,
    ),
    "positions have one name": Mutation(
        "tasks.models.embeddings.NAMES",
        ("max_position_embeddings",),
        test_embeddings.test_positions_by_the_names_that_configurations_use,
        {"kind": "mpt", "expected": 128},
    ),
    "a schedule's arguments are found out after the load": Mutation(
        "tasks.trial.dry_build.get_scheduler",
        lambda _, optimizer, **__: ConstantLR(optimizer),
        test_dry_build.test_what_cannot_be_made_is_a_configuration_error,
        {"arguments": {"lr_scheduler_type": "cosine_with_min_lr"}, "said": "min_lr"},
    ),
}
"""By the fault that is put back."""


@pytest.mark.parametrize("fault", MUTATIONS)
def test_a_fault_that_is_put_back_turns_a_test_red(
    fault: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutation = MUTATIONS[fault]
    fixtures: dict[str, Callable[[], Any]] = {
        "tmp_path": lambda: tmp_path,
        "caplog": lambda: caplog,
        "monkeypatch": lambda: monkeypatch,
        "llama": lambda: make_architecture(tmp_path / "llama", "llama", tie_word_embeddings=False),
    }
    mutation.turns_red(monkeypatch, fixtures)
