"""Metrics and progress of a training, and one log line for each logged step.

On the step path stand comparisons and no input or output: events go into the channel's queue,
GPU figures come from a thread of their own.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from transformers import TrainerCallback

from tasks.channel import Channel
from trainyard.contract.events import Metric, Progress, StartEval

PROGRESS_INTERVAL_S = 0.4
"""Between two Progress events of fast steps. A supervisor sees one at least every 0.5 s, or each
step if those take longer; one that sees none knows that no step was made."""
_LARGEST_EXPONENT = 700.0
"""exp() of more overflows a float."""

Activity = Literal["train", "evaluate", "checkpoint", "save_model"]

logger = logging.getLogger(__name__)


def perplexity(loss: float | None) -> float | None:
    """exp(loss); None if it is not known or no finite number."""
    if loss is None or not math.isfinite(loss) or loss > _LARGEST_EXPONENT:
        return None
    return math.exp(loss)


def finite(value: Any) -> float | None:
    """``value`` as a float; None if it is missing or no finite number."""
    return float(value) if value is not None and math.isfinite(value) else None


class StepClock:
    """Time spent in training steps, seconds: without evals, saves and what comes before."""

    def __init__(self) -> None:
        self.training_s = 0.0
        self.first_step_at: float | None = None
        self._mark = 0.0

    def begin_step(self) -> None:
        """Before the first step: start counting."""
        if self.first_step_at is None:
            self.first_step_at = self._mark = time.monotonic()

    def end_step(self) -> None:
        """Add the time since the last mark."""
        now = time.monotonic()
        self.training_s += now - self._mark
        self._mark = now

    def skip(self) -> None:
        """Leave out what was done since the step's end."""
        self._mark = time.monotonic()


class MetricReporter(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Sends Metric and Progress events and writes one log line for each logged step.

    ``rows`` is the number of rows in an epoch. ``gpu_figures`` returns the latest figures.
    ``perplexities``: whether the loss is one of language modelling, so that exp(loss) means
    something. Keeps ``first_eval_loss`` (before the first step; None without that eval),
    ``last_eval_loss``, ``tokens`` (real ones, without
    padding, since the job's start) and ``tokens_per_second`` for the summary.
    """

    def __init__(
        self,
        channel: Channel,
        rows: int,
        gpu_figures: Callable[[], Mapping[str, float]],
        *,
        perplexities: bool = True,
    ) -> None:
        self._channel = channel
        self._rows = rows
        self._gpu_figures = gpu_figures
        self.perplexity = perplexity if perplexities else lambda _: None
        self._clock = StepClock()
        self._first_step = 0
        self._first_epoch = 0.0
        self._progress_at = -math.inf
        self.first_eval_loss: float | None = None
        self.last_eval_loss: float | None = None
        self.last_eval_step: int | None = None
        self.train_loss: float | None = None
        self.tokens = self._first_tokens = 0
        self.tokens_per_second: float | None = None

    def begin_attempt(self, state: Any, tokens: int) -> None:
        """An attempt begins, cold or warm: rates count from here. ``tokens``: those before it."""
        self._clock = StepClock()
        self._first_step, self._first_epoch = state.global_step, state.epoch or 0.0
        self.tokens = self._first_tokens = tokens
        self._send_progress(state)

    def leave_out_time(self) -> None:
        """What happened since the last step's end was no training."""
        self._clock.skip()

    def announce(self, state: Any, activity: Activity) -> None:
        """Say at once what is being done."""
        self._send_progress(state, activity)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A resumed attempt knows the eval before the first step."""
        for entry in state.log_history:
            if "eval_loss" in entry and entry["step"] == 0:
                self.first_eval_loss = finite(entry["eval_loss"])

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock at the attempt's first step."""
        self._clock.begin_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report progress, at most every 0.4 s; and before what takes long, what that is."""
        self._clock.end_step()
        if state.global_step >= state.max_steps:
            control.should_log = True  # the last point is sent, whatever logging_steps is
        if control.should_save or control.should_evaluate:
            self._send_progress(state, "evaluate" if control.should_evaluate else "checkpoint")
        else:
            self._send_progress_if_due(state, "train")

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A long eval is no hang: report that it moves."""
        self._send_progress_if_due(state, "evaluate")

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the eval's time out of the training's rates."""
        self._clock.skip()
        if control.should_save:
            self._send_progress(state, "checkpoint")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the checkpoint's time out of the training's rates."""
        self._clock.skip()
        self._send_progress(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Send where the training ended."""
        self._send_progress(state, "save_model")

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Turn the Trainer's logs into a Metric; an eval at step 0 into a StartEval."""
        if not logs:
            return
        if "eval_loss" in logs:
            self._report_eval(state, logs)
        elif "loss" in logs:
            self._report_train(state, logs)

    def _report_train(self, state: Any, logs: Mapping[str, Any]) -> None:
        self.train_loss = finite(logs["loss"])
        self.tokens = int(logs.get("num_tokens", self.tokens))
        elapsed = self._clock.training_s
        samples = ((state.epoch or 0.0) - self._first_epoch) * self._rows
        if elapsed > 0 and "num_tokens" in logs:  # not every trainer counts them
            self.tokens_per_second = (self.tokens - self._first_tokens) / elapsed
        self._send_metric(
            state,
            train_loss=self.train_loss,
            train_perplexity=self.perplexity(self.train_loss),
            learning_rate=finite(logs.get("learning_rate")),
            grad_norm=finite(logs.get("grad_norm")),
            samples_per_second=samples / elapsed if elapsed > 0 else None,
            tokens_per_second=self.tokens_per_second,
        )
        logger.info(
            "step %d/%d, epoch %.2f, loss %.4f, learning rate %.3g, grad norm %.3g, %.0f tokens/s",
            state.global_step,
            state.max_steps,
            state.epoch or 0.0,
            logs["loss"],
            logs.get("learning_rate", math.nan),
            logs.get("grad_norm", math.nan),
            self.tokens_per_second or math.nan,
        )

    def _report_eval(self, state: Any, logs: Mapping[str, Any]) -> None:
        loss = finite(logs["eval_loss"])
        if state.global_step == 0:
            self.first_eval_loss = loss
        self.last_eval_loss, self.last_eval_step = loss, state.global_step
        logger.info(
            "step %d/%d, eval loss %.4f, perplexity %s",
            state.global_step,
            state.max_steps,
            logs["eval_loss"],
            "too large" if (value := self.perplexity(loss)) is None else f"{value:.4g}",
        )
        if state.global_step > 0:
            self._send_metric(
                state,
                eval_loss=loss,
                perplexity=self.perplexity(loss),
                eval_perplexity=self.perplexity(loss),
            )
        elif loss is not None:
            self._channel.send(StartEval(eval_loss=loss))

    def _send_metric(self, state: Any, **values: float | None) -> None:
        point = {"step": state.global_step, "epoch": state.epoch or 0.0}
        self._channel.send(Metric.model_validate({**point, **values, **self._gpu_figures()}))

    def _send_progress_if_due(self, state: Any, activity: Activity) -> None:
        if time.monotonic() - self._progress_at >= PROGRESS_INTERVAL_S:
            self._send_progress(state, activity)

    def _send_progress(self, state: Any, activity: Activity = "train") -> None:
        self._progress_at = time.monotonic()
        done, left = state.global_step - self._first_step, state.max_steps - state.global_step
        remaining = None
        if done > 0 and self._clock.first_step_at is not None:
            remaining = (self._progress_at - self._clock.first_step_at) / done * left
        self._channel.send(
            Progress(
                step=state.global_step,
                total_steps=state.max_steps,
                epoch=state.epoch or 0.0,
                total_epochs=state.num_train_epochs,
                remaining_seconds=remaining,
                activity=activity,
            )
        )


_SAID = {
    "rewards/accuracies": "chosen preferred",
    "rewards/margins": "margin",
    "reward": "reward",
    "reward_std": "its deviation",
    "kl": "KL",
    "completions/mean_length": "tokens an answer",
    "aux_loss": "router's auxiliary loss",
}
"""TRL's name of a figure → ours."""


class MethodFigures(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Says how often the chosen answer of a pair is preferred, what sampled answers earn, and the
    auxiliary loss of a mixture of experts."""

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Log the figures that there are."""
        for prefix, when in (("", ""), ("eval_", "eval ")):
            figures = [
                f"{said} {logs[prefix + name]:.4g}"
                for name, said in _SAID.items()
                if logs and logs.get(prefix + name) is not None
            ]
            if figures:
                logger.info("step %d, %s%s", state.global_step, when, ", ".join(figures))
