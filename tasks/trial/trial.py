"""Trial of a training on two of its rows, before its first step.

What is found here would else end, after the GPU hours, in a job that is completed and wrong.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from peft import PeftModel

from tasks.datasets.tokens.spans import IGNORED_LABEL
from tasks.errors import ModelError
from tasks.trial.causal import leak
from tasks.trial.own_loss import log_probs_of_logits, log_probs_of_training, use_plain_forward
from tasks.trial.reference import drift
from tasks.trial.sample import TrialRows, sample_of
from tasks.trial.untouched import untouched

_LEAK_MAX = {False: 1e-4, True: 1e-2}
"""Of logits, relative to their size: above rounding; by whether it is of half precision."""
LOSS_DIFFERENCE_MAX = {False: 1e-3, True: 3e-2}
"""Mean of the tokens', relative to the loss, or absolute if that is below 1."""
_DRIFT_MAX = 1e-3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialRecord:
    """What was found; every figure is of two rows.

    ``leak``: relative change of a token's logits with the tokens after it. ``own_loss``: by the
    model's own logits; ``loss``: as the training computes it, with the head ``head``: "fused"
    (TRL's), or the model's own forward ("plain"). ``drift``: of the reference, if there is one in
    the model.
    """

    leak: float
    own_loss: float
    loss: float
    head: str
    drift: float | None

    def as_record(self) -> dict[str, Any]:
        """For the job's record."""
        found = {name: value for name, value in asdict(self).items() if value is not None}
        return {n: float(f"{v:.4g}") if isinstance(v, float) else v for n, v in found.items()}


def is_half(trainer: Any) -> bool:
    """Whether it computes in half precision."""
    return bool(trainer.args.bf16 or trainer.args.fp16) or trainer.model.dtype != torch.float32


def hold(trainer: Any, name: str, *, compares: bool) -> TrialRecord:
    """Try the training of the model ``name`` as ``trainer`` has it. Raises ModelError.

    ``compares``: whether the loss compares with the base model.
    """
    half, model = is_half(trainer), trainer.model
    with untouched(model), trainer.accelerator.autocast():
        sample = sample_of(trainer)
        logits = model(**sample.batch, use_cache=False).logits
        found = leak(logits[0], logits[2], sample.kept, half_precision=half)
        if not found <= _LEAK_MAX[half]:
            raise _not_causal(model, name, found)
        own, loss, head = _own_loss(trainer, sample, logits, name, half=half)
        moved = None
        if compares and isinstance(model, PeftModel):
            moved = drift(model, lambda: model(**sample.batch, use_cache=False).logits)
            if moved > _DRIFT_MAX:
                raise _drifts(name, moved)
    _say(head, found, own, loss, moved)
    return TrialRecord(found, own, loss, head, moved)


def _own_loss(
    trainer: Any, sample: TrialRows, logits: torch.Tensor, name: str, *, half: bool
) -> tuple[float, float, str]:
    """The own loss, the training's, and the head that computes it. Raises ModelError."""
    temperature, labels = float(getattr(trainer, "temperature", 1.0)), sample.labels
    own = log_probs_of_logits(logits, labels, temperature)
    count = int((labels[:, 1:] != IGNORED_LABEL).sum())

    def loss_of(log_probs: torch.Tensor) -> float:
        return float(-log_probs.sum() / count)

    def agrees(log_probs: torch.Tensor) -> bool:
        difference = float((log_probs - own).abs().sum() / count)
        return difference <= LOSS_DIFFERENCE_MAX[half] * max(1.0, loss_of(own))

    try:
        by_head = log_probs_of_training(trainer, sample.batch, labels)
    except (AttributeError, TypeError, ValueError, IndexError, RuntimeError) as error:
        # TRL's head takes models apart, which may be built otherwise.
        logger.info("TRL's fused head fails on this model: %s", str(error).partition("\n")[0])
        by_head = torch.full_like(own, math.nan)
    if agrees(by_head):
        return loss_of(own), loss_of(by_head), "fused"
    use_plain_forward(trainer)
    logger.warning(
        "Adjusted: the loss comes from the model's own forward: TRL's fused head gives %.4f where "
        "the model's logits give %.4f. This takes more memory",
        loss_of(by_head),
        loss_of(own),
    )
    plain = log_probs_of_training(trainer, sample.batch, labels)
    if not agrees(plain):
        raise ModelError(
            f"The loss that the training of {name!r} would minimise is {loss_of(plain):.4f}, but "
            f"its own logits give {loss_of(own):.4f}: it would learn what it does not compute when "
            "it is used.",
            "Choose another model, or report its architecture.",
        )
    return loss_of(own), loss_of(plain), "plain"


def _not_causal(model: Any, name: str, found: float) -> ModelError:
    kind = type(model.get_base_model() if isinstance(model, PeftModel) else model).__name__
    if math.isnan(found):
        return ModelError(
            f"The model {name!r} ({kind}) gives no finite logits for the first rows.",
            "Check its weights; with fp16, try bf16.",
        )
    return ModelError(
        f"The model {name!r} ({kind}) is not causal: a token's prediction changes with the tokens "
        "after it, so that a training would learn to copy its answers.",
        "Name a model that was trained to continue a text; one of the BERT family sees both sides "
        "unless its config.json says is_decoder.",
    )


def _drifts(name: str, found: float) -> ModelError:
    return ModelError(
        f"The reference that the training of {name!r} compares with would move with it (its logits "
        f"by {found:.3g} of their size): the adapter trains weights of the base model itself.",
        "Leave config.lora.bias out.",
    )


def _say(head: str, found: float, own: float, loss: float, moved: float | None) -> None:
    reference = "" if moved is None else "; what it compares with stands still"
    logger.info(
        "Trial on two rows: the model is causal (%.1e); the loss by its own logits is %.4f, as the "
        "training computes it (%s head) %.4f%s",
        found,
        own,
        head,
        loss,
        reference,
    )
