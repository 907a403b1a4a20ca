"""Obeys the supervisor between two steps, and stops a training whose loss is no number.

The step path has an event check, and nothing more.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback

from tasks.callbacks.metrics import Reporter
from tasks.channel import Channel
from tasks.errors import Diverged, Stopped
from trainyard.contract.events import Divergence

logger = logging.getLogger(__name__)


class Control(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Cancel, pause and hold at step boundaries; Diverged where the loss is not finite.

    ``loss_sum`` returns the sum of the losses since the last logged one; ``reporter`` is told of
    time that is no training. ``pausing`` is true from
    the moment that a pause's checkpoint is asked of the Trainer; who keeps the checkpoints then
    ends or parks the training when that checkpoint is proven good.

    What the Trainer does at an epoch's end (an eval draws random numbers) comes after the epoch's
    last step, and a resume from a checkpoint of that step would leave it out. So the checkpoint of
    such a step is written after all that.
    """

    def __init__(
        self,
        channel: Channel,
        stop_on_nan: bool,
        *,
        loss_sum: Callable[[], float] | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self._channel = channel
        self._stop_on_nan = stop_on_nan
        self._loss_sum = loss_sum
        self._reporter = reporter
        self._warned = False
        self._made_a_step = False
        self._epoch_ends = False
        self._save_put_off = False
        self.pausing = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the first step there is nothing to save: a pause ends the attempt at once."""
        self._channel.settle()
        self._channel.raise_if_asked_to_stop()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Obey what was asked for during a save or an eval, or before the first step."""
        self._channel.settle()
        self._obey_hold(state)
        if not self._made_a_step:
            self._channel.raise_if_asked_to_stop()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Obey a hold, a cancel or a pause."""
        self._channel.settle()
        self._made_a_step = True
        self._obey_hold(state)
        self._channel.raise_if_cancelled()
        if control.should_save:
            # The log comes before the save, so that no checkpoint of a diverged model is written.
            control.should_log = True
        self._epoch_ends = float(state.epoch).is_integer()
        if self._epoch_ends:
            self._save_put_off, control.should_save = control.should_save, False
        elif self._is_to_pause(state):
            self._begin_pause(state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A pause that was asked for during an eval comes before the next step."""
        self._channel.settle()
        if self._made_a_step and not self._epoch_ends and self._is_to_pause(state):
            self._begin_pause(state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint of the epoch's last step, which was put off."""
        self._channel.settle()
        if not self._epoch_ends:
            return
        self._epoch_ends = False
        control.should_save = control.should_save or self._save_put_off
        self._save_put_off = False
        if self._is_to_pause(state):
            self._begin_pause(state, control)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A cancel need not wait for the end of a long eval, nor a pause for that of the first."""
        self._channel.settle()
        if not self._made_a_step:
            self._channel.raise_if_asked_to_stop()
        if self._channel.cancel_requested.is_set():
            raise Stopped

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Report a loss or gradient norm that is no finite number. Raises Diverged."""
        # Under fp16 the gradient scaler skips steps with an infinite norm as a matter of course.
        checked = ("loss", "eval_loss") if args.fp16 else ("loss", "eval_loss", "grad_norm")
        for name in checked:
            value = (logs or {}).get(name)
            if value is None or math.isfinite(value):
                continue
            event = Divergence(step=state.global_step, name=name, value=str(float(value)))
            if self._stop_on_nan or not self._warned:
                self._channel.send(event)
            sentence = f"The training diverged: {name} is {value} at step {state.global_step}."
            if self._stop_on_nan:
                raise Diverged(sentence)
            if not self._warned:
                logger.warning("%s It goes on, since stop_on_nan is off.", sentence)
                self._warned = True

    def check_weights(self, step: int, are_finite: Callable[[], bool]) -> None:
        """No checkpoint is made of weights that the step's own update spoilt. Raises Diverged.

        Its loss and gradient norm, which were logged, are of the weights before the update.
        """
        if self._stop_on_nan and not are_finite():
            self._channel.send(Divergence(step=step, name="weights", value="nan"))
            raise Diverged(f"The training diverged: weights are not finite after step {step}.")

    def _is_to_pause(self, state: Any) -> bool:
        """A pause at the very last step lets the job complete instead."""
        return self._channel.pause_requested.is_set() and state.global_step < state.max_steps

    def _obey_hold(self, state: Any) -> None:
        held = self._channel.stand_still_if_held(state.global_step)
        if held and self._reporter is not None:
            self._reporter.leave_out_time()

    def _begin_pause(self, state: Any, control: Any) -> None:
        self.pausing = control.should_save = True
        if self._reporter is not None:
            self._reporter.announce(state, "checkpoint")
        if self._loss_sum is not None and not math.isfinite(self._loss_sum()):
            # Logged now, the loss that is no number ends the job before the checkpoint is written.
            control.should_log = True
