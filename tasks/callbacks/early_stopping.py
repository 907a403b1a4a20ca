"""Early stopping: the end of a training that gets no better."""

from __future__ import annotations

import logging
import math
from typing import Any

from transformers import TrainerCallback

logger = logging.getLogger(__name__)


class EarlyStopping(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Counts evals and epochs since the best value of the metric; ends the training after ``evals``
    or ``epochs`` of them (None: never).

    Counts from the Trainer's history, which checkpoints keep: a resume changes nothing.
    """

    def __init__(self, metric: str | None, *, evals: int | None, epochs: int | None) -> None:
        self._metric = metric
        self._evals = evals
        self._epochs = epochs

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count; say so if nothing got better, and stop if patience is at its end."""
        seen = [e for e in state.log_history if math.isfinite(e.get(self._metric, math.nan))]
        if not seen:
            return
        sign = -1 if args.greater_is_better else 1
        best = min(range(len(seen)), key=lambda index: sign * seen[index][self._metric])
        evals, epochs = len(seen) - 1 - best, (state.epoch or 0.0) - seen[best]["epoch"]
        if not evals:
            return
        logger.info(
            "step %d: no better %s for %d evals (%.2f epochs); best %.4f at step %d",
            state.global_step,
            self._metric,
            evals,
            epochs,
            seen[best][self._metric],
            seen[best]["step"],
        )
        if (self._evals and evals >= self._evals) or (self._epochs and epochs >= self._epochs):
            logger.warning("Early stopping: the training ends at step %d", state.global_step)
            control.should_training_stop = True
            control.should_save = args.save_strategy != "no"
