"""Saved model: the weights that become the result, and the figures of just these."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.callbacks.best_keeper import evals_by_step
from tasks.callbacks.metrics import MetricReporter
from tasks.checkpoints.folder import best_checkpoint
from tasks.run import Run
from trainyard.contract.checkpoint_manifest import read_manifest
from trainyard.contract.job_folder import CHECKPOINTS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedModel:
    """The weights after ``step``. ``train_loss``: the last logged by then; ``eval_loss``: of their
    own eval; None if there was none."""

    step: int
    train_loss: float | None
    eval_loss: float | None


def choose_saved(run: Run, trainer: Any, reporter: MetricReporter) -> SavedModel:
    """The last state, or, if the job asks for it, the best one, which is then loaded.

    Every rank comes here: each loads its share.
    """
    state, args = trainer.state, trainer.args
    last_step = state.global_step
    evaluated = reporter.last_eval_step == last_step
    last = SavedModel(
        last_step, reporter.train_loss, reporter.last_eval_loss if evaluated else None
    )
    if not run.config.training.load_best_model_at_end:
        return last
    metric, sign = args.metric_for_best_model, 1 if args.greater_is_better else -1
    evals = evals_by_step(state.log_history, metric)
    folder = best_checkpoint(run.job_dir / CHECKPOINTS, greater=args.greater_is_better)
    manifest = read_manifest(folder) if folder else None
    if manifest is None or _at_least_as_good(evals.get(last_step), manifest.metric, sign):
        chosen, value = last, evals.get(last_step)
    else:
        state.best_model_checkpoint = str(folder)
        trainer._load_best_model()
        chosen = SavedModel(manifest.step, manifest.train_loss, manifest.eval_loss)
        value = manifest.metric
    if value is None:
        logger.warning("Nothing was evaluated: the result is the last state, not the best")
        return chosen
    _say(chosen.step, metric, value, {s: v for s, v in evals.items() if sign * v > sign * value})
    return chosen


def _say(step: int, metric: str, value: float, better: Mapping[int, float]) -> None:
    """What the result is; that something was ``better`` than it is not kept back."""
    is_best = "" if better else ", the best"
    logger.info("The result is the model of step %d%s (%s %.4f)", step, is_best, metric, value)
    for other_step, other in better.items():
        which = f"Step {other_step}, which has no checkpoint," if other_step else "The base model"
        logger.warning("%s was better than the result: %s %.4f", which, metric, other)


def _at_least_as_good(value: float | None, other: float | None, sign: int) -> bool:
    return value is not None and (other is None or sign * value >= sign * other)
