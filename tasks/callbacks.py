"""What listens to the Trainer: the reporter, the control of its steps, the keeper of checkpoints.

On the step path stand comparisons and an event check, no input or output: events go into the
channel's queue, GPU figures come from a thread of their own.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback

from backend_bridge.contract import Checkpoint, Metric, Progress
from tasks import checkpoints
from tasks.channel import Channel
from tasks.checkpoints import Manifest
from tasks.errors import Diverged, Stopped

PROGRESS_INTERVAL_S = 0.5
_LARGEST_EXPONENT = 700.0
"""exp() of more overflows a float."""

logger = logging.getLogger(__name__)


def perplexity(loss: float | None) -> float | None:
    """exp(loss); None where it is not known or no finite number."""
    if loss is None or not math.isfinite(loss) or loss > _LARGEST_EXPONENT:
        return None
    return math.exp(loss)


def finite(value: Any) -> float | None:
    """``value`` as a float; None where it is missing or no finite number."""
    return float(value) if value is not None and math.isfinite(value) else None


class StepClock:
    """Time spent in training steps alone, seconds: without evals, saves and what comes before."""

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


class Reporter(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Sends Metric and Progress events and writes one log line for each logged step.

    ``rows`` is the number of rows in an epoch. ``gpu_figures`` returns the latest figures. Keeps
    ``first_eval_loss``, ``last_eval_loss``, ``tokens`` (real ones, without padding) and
    ``tokens_per_second`` for the summary.
    """

    def __init__(
        self, channel: Channel, rows: int, gpu_figures: Callable[[], Mapping[str, float]]
    ) -> None:
        self._channel = channel
        self._rows = rows
        self._gpu_figures = gpu_figures
        self._clock = StepClock()
        self._first_step = 0
        self._first_epoch = 0.0
        self._progress_at = -math.inf
        self.first_eval_loss: float | None = None
        self.last_eval_loss: float | None = None
        self.last_eval_step: int | None = None
        self.train_loss: float | None = None
        self.tokens = 0
        self.tokens_per_second: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remember where the attempt starts; a resumed one knows the evals before it."""
        self._first_step, self._first_epoch = state.global_step, state.epoch or 0.0
        evals = [entry for entry in state.log_history if "eval_loss" in entry]
        if evals:
            self.first_eval_loss = finite(evals[0]["eval_loss"])
        self._send_progress(state)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock at the attempt's first step."""
        self._clock.begin_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report progress, at most twice a second."""
        self._clock.end_step()
        now = time.monotonic()
        if now - self._progress_at >= PROGRESS_INTERVAL_S:
            self._send_progress(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the eval's time out of the training's rates."""
        self._clock.skip()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the checkpoint's time out of the training's rates."""
        self._clock.skip()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Send where the training ended."""
        self._send_progress(state)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Turn the Trainer's logs into a Metric; step 0 is logged and kept, but not sent."""
        if not logs:
            return
        if "eval_loss" in logs:
            self._report_eval(state, logs)
        elif "loss" in logs:
            self._report_train(state, logs)

    def _report_train(self, state: Any, logs: Mapping[str, Any]) -> None:
        self.train_loss = finite(logs["loss"])
        self.tokens = int(logs.get("num_tokens", 0))
        elapsed = self._clock.training_s
        samples = ((state.epoch or 0.0) - self._first_epoch) * self._rows
        if elapsed > 0:
            self.tokens_per_second = self.tokens / elapsed
        self._send_metric(
            state,
            train_loss=self.train_loss,
            train_perplexity=perplexity(self.train_loss),
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
        if self.first_eval_loss is None:
            self.first_eval_loss = loss
        self.last_eval_loss, self.last_eval_step = loss, state.global_step
        logger.info(
            "step %d/%d, eval loss %.4f, perplexity %s",
            state.global_step,
            state.max_steps,
            logs["eval_loss"],
            perplexity(loss),
        )
        if state.global_step > 0:
            self._send_metric(
                state,
                eval_loss=loss,
                perplexity=perplexity(loss),
                eval_perplexity=perplexity(loss),
            )

    def _send_metric(self, state: Any, **values: float | None) -> None:
        point = {"step": state.global_step, "epoch": state.epoch or 0.0}
        self._channel.send(Metric.model_validate({**point, **values, **self._gpu_figures()}))

    def _send_progress(self, state: Any) -> None:
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
            )
        )


class Control(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Stops the training at a step boundary where the supervisor asks, or where it diverged.

    A stop anywhere else (``on_substep_end``, say) would make a resume inexact.
    """

    def __init__(self, channel: Channel, stop_on_nan: bool) -> None:
        self._channel = channel
        self._stop_on_nan = stop_on_nan
        self._warned = False
        self.stopped: Literal["cancelled", "paused"] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Obey a cancel or a pause."""
        if self._channel.cancel_requested.is_set():
            self.stopped = "cancelled"
            control.should_training_stop = True
            control.should_log = control.should_evaluate = control.should_save = False
        elif self._channel.pause_requested.is_set() and state.global_step < state.max_steps:
            self.stopped = "paused"
            control.should_training_stop = control.should_save = True
        elif control.should_save:
            # The log comes before the save, so that no checkpoint of a diverged model is written.
            control.should_log = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A cancel need not wait for the end of a long eval."""
        if self._channel.cancel_requested.is_set():
            raise Stopped

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Check that loss and gradient norm are finite numbers. Raises Diverged."""
        # Under fp16 the gradient scaler skips steps with an infinite norm as a matter of course.
        checked = ("loss", "eval_loss") if args.fp16 else ("loss", "eval_loss", "grad_norm")
        for name in checked:
            value = (logs or {}).get(name)
            if value is None or math.isfinite(value):
                continue
            sentence = f"The training diverged: {name} is {value} at step {state.global_step}."
            if self._stop_on_nan:
                raise Diverged(
                    sentence,
                    "Lower training.learning_rate, raise warmup_steps, or set max_grad_norm to 1; "
                    "earlier checkpoints are intact.",
                )
            if not self._warned:
                logger.warning("%s It goes on, since stop_on_nan is off.", sentence)
                self._warned = True


class CheckpointKeeper(TrainerCallback):  # type: ignore[misc]  # as above
    """Seals each checkpoint that the Trainer wrote, reports it, and deletes surplus ones."""

    def __init__(
        self, channel: Channel, reporter: Reporter, job_id: str, attempt: int, keep: int
    ) -> None:
        self._channel = channel
        self._reporter = reporter
        self._job_id = job_id
        self._attempt = attempt
        self._keep = keep
        self.last_path: str | None = None

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the manifest, then tell the supervisor."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        evaluated_now = self._reporter.last_eval_step == state.global_step
        manifest = checkpoints.seal(
            folder,
            Manifest(
                job_id=self._job_id,
                attempt=self._attempt,
                step=state.global_step,
                epoch=state.epoch or 0.0,
                train_loss=self._reporter.train_loss,
                eval_loss=self._reporter.last_eval_loss if evaluated_now else None,
            ),
        )
        self.last_path = f"{folder.parent.name}/{folder.name}"
        self._channel.send(
            Checkpoint(
                path=self.last_path,
                step=manifest.step,
                epoch=manifest.epoch,
                size_bytes=manifest.size_bytes,
                train_loss=manifest.train_loss,
                eval_loss=manifest.eval_loss,
                is_best=evaluated_now and state.best_global_step == state.global_step,
            )
        )
        logger.info("Checkpoint of step %d is written and verified", state.global_step)
        checkpoints.prune(folder.parent, self._keep, state.best_global_step)
