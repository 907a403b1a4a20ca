"""Result of a completed training: its model, the card beside it, and its figures."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import Any

from tasks.callbacks.metrics import MetricReporter
from tasks.checkpoints.disk import full_disk
from tasks.checkpoints.folder import PICKLED_ARGUMENTS_NAME
from tasks.datasets.training_data import TrainingData
from tasks.models.end_tokens import add_end_token
from tasks.preparation import Prepared
from tasks.results.judgement import judge_course
from tasks.results.model_card import model_card
from tasks.results.saved import SavedModel, choose_saved
from tasks.run import Run
from trainyard.contract.config import JobConfig
from trainyard.contract.job_folder import MODEL
from trainyard.durable_files import sync

MERGED_DIR_NAME = "merged"
CARD_NAME = "README.md"

logger = logging.getLogger(__name__)


def save_result(
    run: Run,
    trainer: Any,
    prepared: Prepared,
    reporter: MetricReporter,
    energy_j: float | None,
) -> dict[str, Any]:
    """Write ``model/`` and return the figures of the outcome; only the first rank writes."""
    saved = choose_saved(run, trainer, reporter)
    if not run.ranks.is_first:
        trainer.give_share()
        return {}
    judge_course(run, trainer, saved.step)
    figures = summary(trainer, reporter, saved, prepared.data, run.phases.seconds)
    card = model_card(
        run.request,
        prepared.data,
        prepared.arguments.values,
        figures,
        trainer.state.log_history,
        energy_j,
        run.verdicts.found,
    )
    if prepared.data.turn_end is not None:
        add_end_token(trainer.accelerator.unwrap_model(trainer.model), prepared.data.turn_end)
    folder = save_model(trainer, run.job_dir, card, merge=can_merge(run.config))
    return {"model_dir": folder.name, **figures}


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


def summary(
    trainer: Any,
    reporter: MetricReporter,
    saved: SavedModel,
    data: TrainingData,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The figures of a completed attempt, none of them NaN or infinite; losses are those of the
    model that is saved."""
    figures: dict[str, Any] = {
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "saved_step": saved.step,
        "train_loss": saved.train_loss,
        "first_eval_loss": reporter.first_eval_loss,
        "last_eval_loss": saved.eval_loss,
        "perplexity": reporter.perplexity(saved.eval_loss),
        "train_runtime": seconds["train"],
        "tokens_per_second": reporter.tokens_per_second,
        "total_tokens": reporter.tokens,
        "train_rows": len(data.train.dataset),
        "eval_rows": len(data.eval.dataset) if data.eval else 0,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "seconds": dict(seconds),
    }
    return {
        name: value
        for name, value in figures.items()
        if not (isinstance(value, float) and not math.isfinite(value)) and value is not None
    }


def save_model(trainer: Any, job_dir: Path, card: str, *, merge: bool = False) -> Path:
    """Write the trained model (or PEFT adapter), its tokenizer and its ``card`` to ``model/``.

    ``AutoModelForCausalLM.from_pretrained`` loads it. With ``merge`` the adapter's sum with its
    base model lies in ``model/merged``. Written beside its place and renamed when all of it is on
    the disk. Returns the folder. Raises DiskTooSmall.
    """
    target = job_dir / MODEL
    partial = job_dir / f"{MODEL}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write(trainer, partial, card, merge)
    except Exception as error:
        full = full_disk(error, partial)
        shutil.rmtree(partial, ignore_errors=True)
        if full is None:
            raise
        raise full from error
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    sync(job_dir)
    logger.info("The model is saved: %s", target)
    return target


def _write(trainer: Any, folder: Path, card: str, merge: bool) -> None:
    trainer.model.config.use_cache = True  # training switches the key-value cache off
    trainer.save_model(str(folder))
    (folder / PICKLED_ARGUMENTS_NAME).unlink(missing_ok=True)
    (folder / CARD_NAME).write_text(card, encoding="utf-8")
    if merge:
        model = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
        model.save_pretrained(folder / MERGED_DIR_NAME)
        trainer.processing_class.save_pretrained(folder / MERGED_DIR_NAME)
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
