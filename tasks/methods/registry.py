"""The methods of fine-tuning: which of TRL's trainers serves each, and how it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, RLOOConfig, SFTConfig, SFTTrainer

from tasks.arguments.build import Arguments
from tasks.datasets.prepare import TrainingData
from tasks.errors import ConfigurationError
from tasks.methods.exact_trainer import ExactTrainer
from tasks.methods.orpo import OddsRatioTrainer, ORPOConfig
from tasks.methods.rlhf import GroupRelativeTrainer, LeaveOneOutTrainer
from tasks.models import load as models
from tasks.models.weights import align_trained_weights
from trainyard.contract.config import JobConfig


class SupervisedTrainer(ExactTrainer, SFTTrainer):  # type: ignore[misc]  # trl has no types
    """Supervised fine-tuning (``sft``) and continued pre-training (``cpt``)."""


class PreferenceTrainer(ExactTrainer, DPOTrainer):  # type: ignore[misc]  # trl has no types
    """Direct preference optimisation (``dpo``; Rafailov et al. 2023, arXiv:2305.18290)."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """The rows come tokenised."""
        return dataset


@dataclass(frozen=True)
class Method:
    """A way to train: TRL's configuration and trainer.

    ``perplexity``: the loss is one of language modelling, so that exp(loss) means something.
    """

    config: Any
    trainer: Any
    perplexity: bool = False


METHODS = {
    "sft": Method(SFTConfig, SupervisedTrainer, perplexity=True),
    "cpt": Method(SFTConfig, SupervisedTrainer, perplexity=True),
    "dpo": Method(DPOConfig, PreferenceTrainer),
    "orpo": Method(ORPOConfig, OddsRatioTrainer),
    "rloo": Method(RLOOConfig, LeaveOneOutTrainer),
    "grpo": Method(GRPOConfig, GroupRelativeTrainer),
}
"""By ``training.method``; rlhf by its algorithm."""


def method_of(config: JobConfig) -> Method:
    """The method that ``config`` asks for."""
    training = config.training
    if training.method == "rlhf" and training.rlhf is not None:
        return METHODS[training.rlhf.algorithm]
    return METHODS[training.method]


def needs_reference_model(config: JobConfig) -> bool:
    """Whether a second, frozen model is needed: with LoRA the base model itself is one."""
    return config.training.method == "dpo" and not config.training.use_lora


@dataclass(frozen=True)
class Parts:
    """The models of a training: ``reference`` (dpo), ``rewards`` (rlhf: functions and models) with
    a tokenizer for each of them that is a model."""

    model: Any
    reference: Any = None
    rewards: tuple[Any, ...] = ()
    reward_tokenizers: tuple[Any, ...] = ()


def make_trainer(
    parts: Parts, tokenizer: Any, data: TrainingData, arguments: Arguments, config: JobConfig
) -> Any:
    """TRL's trainer over the tokenised rows. Raises ConfigurationError at refused arguments."""
    method = method_of(config)
    lora = config.lora if config.training.use_lora else None
    more: dict[str, Any] = {}
    if config.training.method == "dpo":
        more["ref_model"] = parts.reference
    if config.training.method == "rlhf":
        more["reward_funcs"] = list(parts.rewards)
        more["reward_processing_classes"] = list(parts.reward_tokenizers)
    try:
        trainer = method.trainer(
            model=parts.model,
            args=method.config(**arguments.values),
            train_dataset=data.train.dataset,
            eval_dataset=data.eval.dataset if data.eval else None,
            processing_class=tokenizer,
            peft_config=models.lora_settings(lora) if lora else None,
            **more,
        )
    except ValueError as error:
        raise ConfigurationError(f"The trainer refuses the settings: {error}") from error
    trainer.remove_callback(PrinterCallback)
    align_trained_weights(trainer.model)
    return trainer
