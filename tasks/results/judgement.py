"""Judgement of a training: what a person should know of it, found in its data, model and course."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tasks.datasets.training_data import TrainingData
from tasks.models.adapter import own_weights
from tasks.run import Run
from trainyard.contract.config import JobConfig
from trainyard.contract.rules import evals_not_saved
from trainyard.contract.verdicts import VERDICTS_MAX, VerdictKind

_RISE = 0.01
"""An eval loss that is worse than the best by this share has risen."""
_CHANCE = 0.9
"""A first loss of at least this share of guessing evenly shows weights that know nothing. Of models
that were trained, on text of whatever kind, it is well below a half."""
_MILLION = 1000 * 1000
_OF_DATA_MAX = VERDICTS_MAX // 2
"""Many data sets have many warnings: the course of the training has some, too."""


def judge_data(run: Run, data: TrainingData) -> None:
    """What the data set's check warned of (the log has it), and evals without a row."""
    said = data.report.verdicts
    for verdict in said[:_OF_DATA_MAX]:
        run.verdicts.add(verdict.kind, verdict.sentence, logged=True)
    if (more := len(said) - _OF_DATA_MAX) > 0:
        sentence = f"{more} more warnings of the data's check stand in the log"
        run.verdicts.add(VerdictKind.DATA, sentence, logged=True)
    if data.eval is None and (asked := _evals_asked_for(run.config)):
        run.verdicts.add(
            VerdictKind.NO_EVAL,
            f"{asked} is set, but no row is left to evaluate: nothing is known of rows that were "
            "not trained on",
        )
    if data.eval is not None and (missed := evals_not_saved(run.config.training)):
        run.verdicts.add(VerdictKind.BEST_NOT_SAVED, missed)


def _evals_asked_for(config: JobConfig) -> str:
    """The first setting that asks for evals; empty if none does."""
    training = config.training
    asked = {
        "data.eval_split": config.data.eval_split,
        "training.eval_strategy": training.eval_strategy not in (None, "no"),
        "training.eval_steps": training.eval_steps,
        "evaluation.eval_steps": config.evaluation.eval_steps,
        "training.load_best_model_at_end": training.load_best_model_at_end,
        "training.early_stopping_patience": training.early_stopping_patience,
        "training.epochs_without_improvement": training.epochs_without_improvement,
    }
    return next((f"config.{name}" for name, value in asked.items() if value), "")


def judge_model(run: Run, trainer: Any) -> None:
    """How much of the model is trained, if it is not all, and where."""
    model = trainer.model
    if patterns := run.config.training.freeze:
        still = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
        run.verdicts.add(
            VerdictKind.TRAINED_PART,
            f"{_count(still)} of {_count(sum(w.numel() for w in model.parameters()))} parameters "
            f"stay as they are: {', '.join(patterns)}",
        )
    if not hasattr(model, "peft_config"):
        return
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    every = sum(weight.numel() for weight in own_weights(model))
    names = dict.fromkeys(
        name.rpartition(".")[2]
        for name in (*model.targeted_module_names, *model.targeted_parameter_names)
    )
    run.verdicts.add(
        VerdictKind.TRAINED_PART,
        f"LoRA: {_count(trained)} of {_count(every)} parameters trained, on {', '.join(names)}",
    )


def judge_course(run: Run, trainer: Any, saved: int) -> None:
    """What the losses say; ``saved``: the step of the model that is saved."""
    history, vocabulary = trainer.state.log_history, trainer.model.config.get_text_config()
    if run.config.training.how.next_token:
        for sentence in _random_base(history, vocabulary.vocab_size):
            run.verdicts.add(VerdictKind.RANDOM_BASE, sentence)
    keeps_best = run.config.training.load_best_model_at_end
    for sentence in _overfitting(history, saved, keeps_best=keeps_best):
        run.verdicts.add(VerdictKind.OVERFITTING, sentence)


def _random_base(history: Iterable[Mapping[str, Any]], vocabulary: int) -> Iterable[str]:
    first = next((entry for entry in history if "loss" in entry or "eval_loss" in entry), None)
    if first is None or first["step"] > 1:  # a resume of a job that was logged by an older version
        return
    loss, chance = first.get("eval_loss", first.get("loss", 0.0)), math.log(vocabulary)
    if loss >= _CHANCE * chance:
        yield (
            f"the base model's weights look random: its first loss is {loss:.2f}, and guessing "
            f"evenly among {vocabulary:,} tokens gives {chance:.2f}"
        )


def _overfitting(
    history: Iterable[Mapping[str, Any]], saved: int, *, keeps_best: bool
) -> Iterable[str]:
    evals = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    if not evals:
        return
    best, last = min(evals, key=lambda step: evals[step]), max(evals)
    if evals[last] - evals[best] > _RISE * abs(evals[best]):
        mend = "; config.training.load_best_model_at_end: true keeps the best one"
        yield (
            f"eval loss rose after step {best} ({evals[best]:.2f}) to {evals[last]:.2f}: "
            f"overfitting; the saved model is the one of step {saved}"
            f"{'' if keeps_best or saved == best else mend}"
        )


def _count(number: int) -> str:
    millions = number / _MILLION
    if millions < 1:
        return f"{number:,}"
    return f"{millions:,.1f} M" if millions < 100 else f"{millions:,.0f} M"
