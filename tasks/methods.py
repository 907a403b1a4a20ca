"""The methods of fine-tuning: which of TRL's trainers serves each, and how it is made."""

from __future__ import annotations

from typing import Any

from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from backend_bridge.contract import JobConfig
from tasks import models
from tasks.datasets.prepare import TrainingData
from tasks.errors import ConfigurationError
from tasks.exact_trainer import ExactTrainer
from tasks.training_arguments import Arguments


class SupervisedTrainer(ExactTrainer, SFTTrainer):  # type: ignore[misc]  # trl has no types
    """Supervised fine-tuning (``sft``)."""


class PreferenceTrainer(ExactTrainer, DPOTrainer):  # type: ignore[misc]  # trl has no types
    """Direct preference optimisation (``dpo``; Rafailov et al. 2023, arXiv:2305.18290)."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """The rows come tokenised."""
        return dataset


def needs_reference_model(config: JobConfig) -> bool:
    """Whether a second, frozen model is needed: with LoRA the base model itself is one."""
    return config.training.method == "dpo" and not config.training.use_lora


def make_trainer(
    model: Any,
    reference: Any,
    tokenizer: Any,
    data: TrainingData,
    arguments: Arguments,
    config: JobConfig,
) -> Any:
    """TRL's trainer over the tokenised rows. Raises ConfigurationError at refused arguments."""
    common = {
        "model": model,
        "train_dataset": data.train.dataset,
        "eval_dataset": data.eval.dataset if data.eval else None,
        "processing_class": tokenizer,
        "peft_config": (
            models.lora_settings(config.lora) if config.training.use_lora and config.lora else None
        ),
    }
    try:
        if config.training.method == "dpo":
            settings = DPOConfig(**arguments.values)
            trainer = PreferenceTrainer(args=settings, ref_model=reference, **common)
        else:
            trainer = SupervisedTrainer(args=SFTConfig(**arguments.values), **common)
    except ValueError as error:
        raise ConfigurationError(f"The trainer refuses the settings: {error}") from error
    trainer.remove_callback(PrinterCallback)
    return trainer
