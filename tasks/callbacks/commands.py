"""Commands of the supervisor: cancel, pause and hold, obeyed between two steps.

The step path has an event check, and nothing more.
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from tasks.callbacks.divergence import LossCheck
from tasks.callbacks.metrics import MetricReporter
from tasks.channel import Channel
from tasks.errors import Stopped


class Control(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Cancel, pause and hold at step boundaries; ``reporter`` is told of time that is no training.

    ``pausing`` is true from the moment that a pause's checkpoint is asked of the Trainer. When that
    checkpoint is proven good, ``tasks.callbacks.pauser`` parks the training or ends it.

    What the Trainer does at an epoch's end (an eval draws random numbers) comes after the epoch's
    last step, and a resume from a checkpoint of that step would leave it out. So the checkpoint of
    such a step is written after all that, also if an eval asks for it.
    """

    def __init__(self, channel: Channel, reporter: MetricReporter, losses: LossCheck) -> None:
        self._channel = channel
        self._reporter = reporter
        self._losses = losses
        self._made_a_step = False
        self._epoch_ends = False
        self._save_put_off = False
        self.pausing = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the first step there is nothing to save: a pause ends the attempt at once."""
        self._channel.agree()
        self._channel.raise_if_asked_to_stop()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Obey what was asked for during a save or an eval, or before the first step."""
        self._channel.agree()
        self._obey_hold(state)
        if not self._made_a_step:
            self._channel.raise_if_asked_to_stop()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Obey a hold, a cancel or a pause."""
        self._channel.agree()
        self._made_a_step = True
        self._obey_hold(state)
        self._channel.raise_if_cancelled()
        self._epoch_ends = float(state.epoch).is_integer()
        if self._epoch_ends:
            self._save_put_off, control.should_save = control.should_save, False
        elif self._is_to_pause(state):
            self._begin_pause(state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A pause that was asked for during an eval comes before the next step."""
        self._channel.agree()
        if self._epoch_ends and control.should_save:
            self._save_put_off, control.should_save = True, False
        if self._made_a_step and not self._epoch_ends and self._is_to_pause(state):
            self._begin_pause(state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint of the epoch's last step, which was put off."""
        self._channel.agree()
        if not self._epoch_ends:
            return
        self._epoch_ends = False
        control.should_save = control.should_save or self._save_put_off
        self._save_put_off = False
        if self._is_to_pause(state):
            self._begin_pause(state, control)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A cancel need not wait for the end of a long eval, nor a pause for that of the first."""
        self._channel.agree()
        if not self._made_a_step:
            self._channel.raise_if_asked_to_stop()
        if self._channel.cancel_requested.is_set():
            raise Stopped

    def _is_to_pause(self, state: Any) -> bool:
        """A pause at the very last step lets the job complete instead."""
        return self._channel.pause_requested.is_set() and state.global_step < state.max_steps

    def _obey_hold(self, state: Any) -> None:
        if self._channel.stand_still_if_held(state.global_step):
            self._reporter.leave_out_time()

    def _begin_pause(self, state: Any, control: Any) -> None:
        self.pausing = control.should_save = True
        self._reporter.announce(state, "checkpoint")
        if not self._losses.sum_is_finite():
            # Logged now, the loss that is no number ends the job before the checkpoint is written.
            control.should_log = True
