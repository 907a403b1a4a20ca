"""A checkpoint at every eval that is better than all before it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks.callbacks.best_keeper import BestKeeper
from tests.support.callbacks import control, state


def saved_at(values: list[float], *, greater: bool = False, metric: str = "eval_loss") -> list[int]:
    """The steps whose eval has a checkpoint written; an eval every ten steps, the first at 0."""
    arguments = SimpleNamespace(greater_is_better=greater, metric_for_best_model="eval_loss")
    history: list[dict[str, Any]] = []
    saved = []
    for index, value in enumerate(values):
        history.append({metric: value, "step": 10 * index})
        flow = control()
        BestKeeper().on_evaluate(arguments, state(10 * index, log_history=history), flow)
        saved += [10 * index] if flow.should_save else []
    return saved


@pytest.mark.parametrize(
    ("values", "greater", "steps"),
    [
        ([9, 5, 6, 4, 4, 3], False, [10, 30, 50]),
        ([9, 5, 6, 4, 4, 7], True, [10, 20, 50]),
        # The base model is no checkpoint: the first eval after it is kept, be it worse.
        ([1, 5, 4], False, [10, 20]),
        ([9, float("nan"), 5], False, [20]),
    ],
)
def test_the_best_so_far_is_written(values: list[float], greater: bool, steps: list[int]) -> None:
    assert saved_at(values, greater=greater) == steps


def test_an_eval_without_the_metric_writes_none() -> None:
    assert saved_at([3, 2, 1], metric="eval_reward") == []
