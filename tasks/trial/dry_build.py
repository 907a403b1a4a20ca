"""Optimizer and schedule, built and stepped once on a weight of their own, before the model loads.

The Trainer makes them when the training begins: what lacks a package or an argument would be found
out only then, after minutes of loading.
"""

from __future__ import annotations

import copy
import inspect
import logging
from dataclasses import fields
from typing import Any

import torch
from transformers import Trainer, get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, GreedyLR
from transformers.trainer_utils import SchedulerType

from tasks.arguments.adaptation import Note
from tasks.errors import ConfigurationError

logger = logging.getLogger(__name__)

_GIVEN_BY_TRAINER = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch", "kwargs"}
_OTHER_VALUE = 0.123
"""In the place of a setting of Adam's, to see whether the optimizer takes it."""


def build_on_dummy(args: Any, total_steps: int) -> None:
    """Raise ConfigurationError unless optimizer and schedule of the Trainer's ``args`` can be made.

    A setting that has no effect, and is another than by default, is named in the log.
    """
    optimizer = _optimizer(args)
    _say_unused(args)
    _check_kwargs(args)
    try:
        schedule = get_scheduler(
            args.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=args.get_warmup_steps(total_steps),
            num_training_steps=total_steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,
        )
        optimizer.step()
        if not isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau | GreedyLR):
            schedule.step()
    except (ValueError, TypeError, ImportError, ZeroDivisionError) as error:
        raise ConfigurationError(
            f"config.training.lr_scheduler_type {_schedule_name(args)!r} cannot be made: "
            f"{_first_line(error)}.",
            f"It takes in config.training.lr_scheduler_kwargs: {_taken(args)}.",
        ) from error


def _optimizer(args: Any) -> Any:
    model = torch.nn.ParameterDict(
        {"weight": torch.nn.Parameter(torch.zeros(2, 2, device=args.device))}
    )
    named = f"config.training.optim {str(args.optim.value)!r}"
    try:
        chosen, values = Trainer.get_optimizer_cls_and_kwargs(args, model)
        optimizer = chosen(values.pop("params", list(model.parameters())), **values)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigurationError(
            f"{named} cannot be made on this worker: {_first_line(error)}.",
            "Leave config.training.optim out for adamw_torch_fused, or correct "
            "config.training.optim_args.",
        ) from error
    model["weight"].grad = torch.zeros_like(model["weight"])
    optimizer.step()
    return optimizer


def _say_unused(args: Any) -> None:
    """Refuse arguments that the optimizer does not take; say what it has not of Adam's settings."""
    model = torch.nn.ParameterDict()
    chosen, values = Trainer.get_optimizer_cls_and_kwargs(args, model)

    def changes(name: str, value: Any) -> bool:
        other = copy.copy(args)
        setattr(other, name, value)
        return bool(Trainer.get_optimizer_cls_and_kwargs(other, model)[1] != values)

    given = [part for part in (args.optim_args or "").replace(" ", "").split(",") if part]
    for part in given:
        name = part.partition("=")[0]
        others = ",".join(other for other in given if other != part)
        if name not in values and not changes("optim_args", others):
            raise ConfigurationError(
                f"config.training.optim_args: {args.optim.value} does not take {name!r}.",
                f"Correct it, or leave it out ({chosen.__name__} of {chosen.__module__}).",
            )
    defaults = {field.name: field.default for field in fields(args)}
    for name in ("adam_beta1", "adam_beta2", "adam_epsilon"):
        if getattr(args, name) != defaults[name] and not changes(name, _OTHER_VALUE):
            note = Note(f"training.{name}", "ignored", f"{args.optim.value} has none")
            logger.warning("%s", note)


def _check_kwargs(args: Any) -> None:
    """What a schedule does not take it may also pass over without a word."""
    function = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(args.lr_scheduler_type)]
    parameters = inspect.signature(function).parameters
    unknown = [name for name in args.lr_scheduler_kwargs or {} if name not in parameters]
    if unknown and "kwargs" not in parameters:
        raise ConfigurationError(
            f"config.training.lr_scheduler_kwargs: {_schedule_name(args)} does not take "
            f"{', '.join(unknown)}.",
            f"It takes: {_taken(args)}.",
        )


def _schedule_name(args: Any) -> str:
    return str(SchedulerType(args.lr_scheduler_type).value)


def _taken(args: Any) -> str:
    function = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(args.lr_scheduler_type)]
    names = [
        name for name in inspect.signature(function).parameters if name not in _GIVEN_BY_TRAINER
    ]
    return ", ".join(names) or "nothing"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
