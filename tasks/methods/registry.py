"""Trainers of the methods: which of TRL's serves each, and how it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PrinterCallback
from trl import DPOConfig, GRPOConfig, KTOConfig, RewardConfig, RLOOConfig, SFTConfig

from tasks.arguments.build import Arguments
from tasks.datasets.training_data import TrainingData
from tasks.errors import ConfigurationError
from tasks.methods.kto import UnpairedTrainer
from tasks.methods.orpo import OddsRatioTrainer
from tasks.methods.preference import PreferenceTrainer
from tasks.methods.reference_free import CPOConfig, ORPOConfig
from tasks.methods.reward_model import ScoringTrainer
from tasks.methods.rlhf import GroupRelativeTrainer, LeaveOneOutTrainer
from tasks.methods.simpo import SimpleTrainer
from tasks.methods.supervised import SupervisedTrainer
from tasks.models.lora import lora_settings, say_experts
from trainyard.contract.config import JobConfig, TrainingConfig


@dataclass(frozen=True)
class TrainerClass:
    """A trainer, and TRL's configuration of it."""

    config: Any
    trainer: Any


TRAINERS = {
    "sft": TrainerClass(SFTConfig, SupervisedTrainer),
    "cpt": TrainerClass(SFTConfig, SupervisedTrainer),
    "dpo": TrainerClass(DPOConfig, PreferenceTrainer),
    "orpo": TrainerClass(ORPOConfig, OddsRatioTrainer),
    "simpo": TrainerClass(CPOConfig, SimpleTrainer),
    "kto": TrainerClass(KTOConfig, UnpairedTrainer),
    "reward_model": TrainerClass(RewardConfig, ScoringTrainer),
    "rloo": TrainerClass(RLOOConfig, LeaveOneOutTrainer),
    "grpo": TrainerClass(GRPOConfig, GroupRelativeTrainer),
}
"""By the ``trainers`` that the records of the methods name."""


def trainer_class(training: TrainingConfig) -> TrainerClass:
    """The trainer that ``training`` asks for, by its method and, of several, its algorithm."""
    asked = training.rlhf.algorithm if training.rlhf else None
    return TRAINERS[asked or training.how.trainers[0]]


def needs_reference_model(training: TrainingConfig) -> bool:
    """Whether a second, frozen model is needed: with LoRA the base model itself is one."""
    return training.how.reference_model and not training.use_lora


@dataclass(frozen=True)
class Parts:
    """The models of a training: ``reference``, and ``rewards`` (functions and models) with a
    tokenizer for each of them that is a model. ``new_tokens``: numbers of those that the model got
    rows for."""

    model: Any
    reference: Any = None
    rewards: tuple[Any, ...] = ()
    reward_tokenizers: tuple[Any, ...] = ()
    new_tokens: Sequence[int] = ()


def make_arguments(arguments: Arguments, config: JobConfig) -> Any:
    """Arguments of TRL's trainer. Raises ConfigurationError if it refuses them."""
    try:
        return trainer_class(config.training).config(**arguments.values)
    except ValueError as error:
        raise ConfigurationError(f"The trainer refuses the settings: {error}") from error


def make_trainer(
    parts: Parts, tokenizer: Any, data: TrainingData, args: Any, config: JobConfig
) -> Any:
    """TRL's trainer over the tokenised rows. Raises ConfigurationError at refused settings."""
    chosen, how = trainer_class(config.training), config.training.how
    lora = config.lora if config.training.use_lora else None
    more: dict[str, Any] = {}
    if how.reference_model:
        more["ref_model"] = parts.reference
    if how.samples_answers:
        more["reward_funcs"] = list(parts.rewards)
        more["reward_processing_classes"] = list(parts.reward_tokenizers)
    try:
        trainer = chosen.trainer(
            model=parts.model,
            args=args,
            train_dataset=data.train.dataset,
            eval_dataset=data.eval.dataset if data.eval else None,
            processing_class=tokenizer,
            peft_config=lora_settings(
                lora, parts.model, new_head=how.scores_texts, new_tokens=parts.new_tokens
            )
            if lora and not hasattr(parts.model, "peft_config")
            else None,
            **more,
        )
    except ValueError as error:
        raise ConfigurationError(f"The trainer refuses the settings: {error}") from error
    trainer.remove_callback(PrinterCallback)
    if lora:
        say_experts(trainer.model)
    return trainer
