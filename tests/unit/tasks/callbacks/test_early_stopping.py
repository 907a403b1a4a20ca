"""A training that gets no better ends: counted in evals, or in epochs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks.callbacks.early_stopping import EarlyStopping

ARGUMENTS = SimpleNamespace(greater_is_better=False, save_strategy="steps")


def stops_at(losses: list[float], *, evals: int | None = None, epochs: int | None = None) -> Any:
    """The step of the eval that ends the training, with two evals an epoch; None: it goes on."""
    patience = EarlyStopping("eval_loss", evals=evals, epochs=epochs)
    history: list[dict[str, float]] = []
    for index, loss in enumerate(losses, start=1):
        epoch = index / 2
        history.append({"eval_loss": loss, "epoch": epoch, "step": index * 10})
        state = SimpleNamespace(log_history=history, epoch=epoch, global_step=index * 10)
        control = SimpleNamespace(should_training_stop=False, should_save=False)
        patience.on_evaluate(ARGUMENTS, state, control)
        assert control.should_save is control.should_training_stop
        if control.should_training_stop:
            return index * 10
    return None


@pytest.mark.parametrize(
    ("losses", "epochs", "step"),
    [
        ([3, 2, 2.5, 2.6, 2.7, 2.8], 1, 40),
        ([3, 2, 2.5, 2.6, 2.7, 2.8], 2, 60),
        ([3, 2, 2.5, 1.9, 2.0, 2.1], 1, 60),
        ([3, 2, 2.5, 1.9, 2.0, 1.8], 1, None),
        ([3, 2, float("nan"), 2.6], 1, 40),
    ],
)
def test_so_many_epochs_without_a_better_value_end_it(
    losses: list[float], epochs: int, step: int | None
) -> None:
    assert stops_at(losses, epochs=epochs) == step
    assert stops_at(losses) is None


def test_so_many_evals_without_a_better_value_end_it() -> None:
    assert stops_at([3, 2, 2.5, 2.6, 2.7], evals=2) == 40


def test_a_metric_that_is_better_when_it_is_greater(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ARGUMENTS, "greater_is_better", True)
    assert stops_at([1, 2, 1.5, 1.6], epochs=1) == 40
    assert stops_at([1, 2, 3, 4], epochs=1) is None
