"""Divergence: a loss, a gradient norm or a weight that is no finite number ends the training.

Two callbacks, since each has its place in the order: weights are looked at before a checkpoint is
made of them, a loss after it was reported.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from tasks.errors import Diverged
from tasks.methods.exact_trainer import ExactCallback
from tasks.models.weights import has_finite_weights
from tasks.run import Run
from trainyard.contract.events import Divergence

logger = logging.getLogger(__name__)


class WeightCheck(ExactCallback):
    """Before a checkpoint, and before the model is saved. Raises Diverged in every rank.

    A step's loss and gradient norm, which are logged, are of the weights before its update.
    """

    def __init__(self, run: Run, trainer: Any) -> None:
        self._run = run
        self._trainer = trainer

    def before_save(self) -> None:
        """Look at every trained weight, if a job that diverged is to end."""
        if not self._run.config.training.stop_on_nan:
            return
        step = self._trainer.state.global_step
        if self._run.ranks.sum(float(not has_finite_weights(self._trainer.model))):
            self._run.channel.send(Divergence(step=step, name="weights", value="nan"))
            raise Diverged(f"The training diverged: weights are not finite after step {step}.")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What becomes the model is looked at as a checkpoint is."""
        self.before_save()


class LossCheck(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Looks at what is logged. Raises Diverged; with ``stop_on_nan`` off it warns, once."""

    def __init__(self, run: Run, trainer: Any) -> None:
        self._run = run
        self._trainer = trainer
        self._warned = False

    def sum_is_finite(self) -> bool:
        """Whether the losses since the last logged one are numbers, over all ranks."""
        return math.isfinite(self._run.ranks.sum(self._trainer.loss_sum()))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The log comes before the save, so that no checkpoint of a diverged model is written."""
        if control.should_save:
            control.should_log = True

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Report a loss or gradient norm that is no finite number."""
        # Under fp16 the gradient scaler skips steps with an infinite norm as a matter of course.
        checked = ("loss", "eval_loss") if args.fp16 else ("loss", "eval_loss", "grad_norm")
        for name in checked:
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(value):
                self._diverged(state.global_step, name, value)

    def _diverged(self, step: int, name: str, value: Any) -> None:
        stops = self._run.config.training.stop_on_nan
        if not stops and self._warned:
            return
        self._run.channel.send(Divergence(step=step, name=name, value=str(float(value))))
        sentence = f"The training diverged: {name} is {value} at step {step}."
        if stops:
            raise Diverged(sentence)
        logger.warning("%s It goes on, since stop_on_nan is off.", sentence)
        self._warned = True
