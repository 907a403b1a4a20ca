"""Best checkpoint: written at every eval that is better than all before it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from transformers import TrainerCallback


def evals_by_step(history: Iterable[Mapping[str, Any]], metric: str | None) -> dict[int, float]:
    """The finite values of ``metric`` in what the Trainer logged, by step."""
    known = ((entry["step"], entry[metric]) for entry in history if metric and metric in entry)
    return {step: float(value) for step, value in known if math.isfinite(value)}


class BestKeeper(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Asks for a checkpoint whenever the eval just made is the best, whatever ``save_steps`` says.

    Without it the best checkpoint would be the best of those that happen to be written. Counts from
    the Trainer's history, which checkpoints keep: a resume changes nothing.
    """

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Compare with all evals of steps before it; the base model is no checkpoint."""
        if state.global_step == 0:
            return
        evals = evals_by_step(state.log_history, args.metric_for_best_model)
        now = evals.pop(state.global_step, None)
        earlier = [value for step, value in evals.items() if step > 0]
        if now is None:
            return
        sign = 1 if args.greater_is_better else -1
        if all(sign * now > sign * value for value in earlier):
            control.should_save = True
