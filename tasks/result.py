"""What a completed training leaves: its model, the card beside it, and its figures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tasks import artifacts
from tasks.arguments.build import Arguments
from tasks.callbacks.metrics import Reporter
from tasks.checkpoints import folder as checkpoints
from tasks.datasets.prepare import TrainingData
from tasks.model_card import model_card
from tasks.phases import Phases
from tasks.ranks.ranks import Ranks
from tasks.summary import summary
from trainyard.contract.config import JobConfig
from trainyard.contract.request import TrainingRequest

logger = logging.getLogger(__name__)


def save_result(
    trainer: Any,
    request: TrainingRequest,
    config: JobConfig,
    data: TrainingData,
    arguments: Arguments,
    reporter: Reporter,
    energy_j: float | None,
    phases: Phases,
    ranks: Ranks,
) -> dict[str, Any]:
    """Write ``model/`` and return the figures of the outcome; the first rank alone writes.

    ``config`` is the request's as it was trained in the end.
    """
    checkpoints_dir = Path(trainer.args.output_dir).parent
    if config.training.load_best_model_at_end:
        load_best(trainer, checkpoints_dir)
    if not ranks.is_first:
        trainer.give_share()
        return {}
    figures = summary(trainer, reporter, data, phases.seconds)
    history = trainer.state.log_history
    trained = request.model_copy(update={"config": config})
    card = model_card(trained, data, arguments.values, figures, history, energy_j)
    folder = artifacts.save_model(trainer, checkpoints_dir.parent, card, merge=can_merge(config))
    return {"model_dir": folder.name, **figures}


def load_best(trainer: Any, checkpoints_dir: Path) -> None:
    """Put the best checkpoint's weights into the model, where one was evaluated."""
    folder = checkpoints.best(checkpoints_dir, greater=trainer.args.greater_is_better)
    if folder is None:
        logger.warning("No checkpoint was evaluated: the result is the last state, not the best")
        return
    logger.info("The result is the best checkpoint, %s", folder.name)
    trainer.state.best_model_checkpoint = str(folder)
    trainer._load_best_model()


def can_merge(config: JobConfig) -> bool:
    """Whether a merged copy is wanted and can be made."""
    training = config.training
    if not training.merge_adapter or training.sharded:
        return False
    quantised = any((training.quantization or {}).values())
    if not training.use_lora or quantised:
        why = "the base model is quantised" if training.use_lora else "there is no adapter"
        logger.warning("Ignored: config.training.merge_adapter: %s", why)
        return False
    return True
