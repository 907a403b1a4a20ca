"""Figures of a completed training: its summary, of the model that is saved."""

from __future__ import annotations

import math
from typing import Any

from tasks.callbacks.metrics import MetricReporter
from tasks.datasets.training_data import TrainingData
from tasks.models.adapter import own_weights
from tasks.results.saved import SavedModel


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
        "parameters": sum(weight.numel() for weight in own_weights(trainer.model)),
        "seconds": dict(seconds),
    }
    return {
        name: value
        for name, value in figures.items()
        if not (isinstance(value, float) and not math.isfinite(value)) and value is not None
    }
