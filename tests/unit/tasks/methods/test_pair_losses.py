"""Losses of pairs: what their papers' formulas give, by plain torch, however pairs are batched."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.methods.pair_losses import LOSSES
from tests.support.plain_losses import PAIRS, answers, by_hand, first_log
from tests.support.tiny_trainers import tiny, trainer
from trainyard.contract.methods import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # within trl

BETA = 0.1
Formula = Callable[[Any, Any, Any, Any], Any]
"""Of c and r, the log ratios of a pair, and their numbers of tokens."""


def s(x: Any) -> Any:
    return 1 / (1 + torch.exp(-x))


def log_s(x: Any) -> Any:
    return torch.log(s(x))


FORMULAS: dict[tuple[str, float], Formula] = {
    ("sigmoid", 0.0): lambda c, r, m, n: -log_s(BETA * (c - r)),
    ("sigmoid", 0.2): lambda c, r, m, n: (
        -0.8 * log_s(BETA * (c - r)) - 0.2 * log_s(-BETA * (c - r))
    ),
    ("sigmoid_norm", 0.0): lambda c, r, m, n: -log_s(BETA * (c / m - r / n)),
    ("hinge", 0.0): lambda c, r, m, n: torch.clamp(1 - BETA * (c - r), min=0),
    ("ipo", 0.0): lambda c, r, m, n: (c / m - r / n - 1 / (2 * BETA)) ** 2,
    ("robust", 0.2): lambda c, r, m, n: (
        (-0.8 * log_s(BETA * (c - r)) + 0.2 * log_s(-BETA * (c - r))) / 0.6
    ),
    ("nca_pair", 0.0): lambda c, r, m, n: (
        -log_s(BETA * c) - 0.5 * log_s(-BETA * c) - 0.5 * log_s(-BETA * r)
    ),
    ("sppo_hard", 0.0): lambda c, r, m, n: (c - 0.5 / BETA) ** 2 + (r + 0.5 / BETA) ** 2,
    ("apo_zero", 0.0): lambda c, r, m, n: (1 - s(BETA * c)) + s(BETA * r),
    ("apo_down", 0.0): lambda c, r, m, n: s(BETA * c) + (1 - s(BETA * (c - r))),
    ("discopop", 0.0): lambda c, r, m, n: (
        -(1 - s(BETA * (c - r) / 0.05)) * log_s(BETA * (c - r))
        + s(BETA * (c - r) / 0.05) * torch.exp(-BETA * (c - r))
    ),
}


def mean_of(formula: Formula) -> Callable[[Any], torch.Tensor]:
    """The mean over pairs of one loss of a model."""
    with torch.no_grad():
        reference = tiny("llama", seed=1)
        known = [answers(reference, name) for name in ("chosen", "rejected")]

    def loss(model: Any) -> torch.Tensor:
        rows = zip(answers(model, "chosen"), answers(model, "rejected"), *known, strict=True)
        return torch.stack(
            [
                formula(c.sum() - of_c.sum(), r.sum() - of_r.sum(), len(c), len(r))
                for c, r, of_c, of_r in rows
            ]
        ).mean()

    return loss


@pytest.mark.parametrize(("loss_type", "smoothing"), FORMULAS)
def test_a_loss_is_its_papers_formula(loss_type: str, smoothing: float, tiny_model: Path) -> None:
    loss, norm = by_hand(mean_of(FORMULAS[loss_type, smoothing]), tiny("llama"))
    # The last micro-batch has two pairs.
    made = trainer(
        *("dpo", tiny("llama"), PAIRS, tiny_model),
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        gradient_accumulation_steps=4,
        loss_type=loss_type,
        label_smoothing_factor=smoothing,
    )
    assert made.evaluate()["eval_loss"] == pytest.approx(loss, rel=2e-5)
    logged = first_log(made)
    assert logged["loss"] == pytest.approx(loss, rel=2e-5)
    assert logged["grad_norm"] == pytest.approx(norm, rel=2e-4)


def test_every_loss_that_a_request_may_choose_is_held_to_its_formula() -> None:
    chosen = list(itertools.chain(*(how.losses for how in METHODS.values())))
    assert chosen == list(LOSSES)
    assert {name for name, _ in FORMULAS} == set(LOSSES)
