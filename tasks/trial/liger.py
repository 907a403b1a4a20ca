"""Liger's kernels in the place of the layers' own, tried before they train.

They are put on before the trial, and not by the Trainer, which does so when the training begins:
what is tried is what trains. The head and the loss stay TRL's: Liger's fused loss gives no logits
to compare with. No kernel comes from a hub.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

from transformers.integrations.liger import apply_liger_kernel
from transformers.trainer_utils import unwrap_peft_model

from tasks.datasets.tokens.spans import IGNORED_LABEL
from tasks.errors import ConfigurationError, ModelError
from tasks.trial.own_loss import log_probs_of_logits
from tasks.trial.sample import sample_of
from tasks.trial.trial import LOSS_DIFFERENCE_MAX, is_half
from tasks.trial.untouched import untouched

_ONLY_LAYERS = {"cross_entropy": False, "fused_linear_cross_entropy": False}

logger = logging.getLogger(__name__)


def use_liger(trainer: Any, name: str, why: str, *, required: bool) -> str:
    """Put the kernels on the model ``name`` of ``trainer``; returns which it has, in words.

    A model that they are not made for stays as it is, unless they are ``required``. Raises
    ConfigurationError, and ModelError if the model computes something else with them.
    """
    if lacks := _lacking(trainer.model):
        if required:
            raise ConfigurationError(
                f"config.training.use_liger_kernel: {lacks}.",
                "Leave it out, or send 'auto', which takes them only where they can be had.",
            )
        logger.info("kernels: the model's own, since %s", lacks)
        return f"the model's own, since {lacks}"
    before, loss = _log_probs(trainer)
    apply_liger_kernel(trainer.model, _ONLY_LAYERS)
    after, _ = _log_probs(trainer)
    difference = float((after - before).abs().mean())
    if not difference <= LOSS_DIFFERENCE_MAX[is_half(trainer)] * max(1.0, loss):
        raise ModelError(
            f"The model {name!r} computes something else with Liger's kernels: the loss of a token "
            f"differs by {difference:.3g}.",
            "Leave config.training.use_liger_kernel out.",
        )
    logger.info("kernels: %s; with them a token's loss differs by %.1e", why, difference)
    return why


def _lacking(model: Any) -> str:
    """Why the kernels cannot be put on ``model``; "" if they can."""
    try:
        patches = importlib.import_module("liger_kernel.transformers.monkey_patch")
    except Exception as error:  # whatever a package raises that was built for another torch
        first = str(error).partition("\n")[0]
        return f"liger-kernel cannot be imported ({type(error).__name__}: {first})"
    kind = unwrap_peft_model(model).config.model_type
    known = patches.MODEL_TYPE_TO_APPLY_LIGER_FN
    return "" if kind in known else f"Liger has none for {kind} models"


def _log_probs(trainer: Any) -> tuple[Any, float]:
    """Of the tokens of two rows, and their mean loss."""
    with untouched(trainer.model), trainer.accelerator.autocast():
        sample = sample_of(trainer)
        logits = trainer.model(**sample.batch, use_cache=False).logits
        known = sample.labels[:, 1:] != IGNORED_LABEL
        found = log_probs_of_logits(logits, sample.labels, 1.0)[known]
    return found, float(-found.mean())
