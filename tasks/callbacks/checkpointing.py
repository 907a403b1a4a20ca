"""Completes each checkpoint that the Trainer wrote, and puts back what it forgets at a resume."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, set_seed

from tasks.callbacks.commands import Control
from tasks.callbacks.metrics import Reporter
from tasks.callbacks.pauser import Pauser
from tasks.channel import Channel
from tasks.checkpoints import folder as checkpoints
from tasks.checkpoints.loss_sums import LOSS_SUMS_NAME, LossSums
from tasks.checkpoints.receipts import RECEIPT_NAME, compare, log_receipt, take_receipt
from tasks.checkpoints.resume import Start
from tasks.ranks.ranks import Ranks
from trainyard.contract.checkpoint_manifest import Manifest, verify
from trainyard.contract.events import Checkpoint, Receipt
from trainyard.contract.job_folder import CHECKPOINTS, checkpoint_name

logger = logging.getLogger(__name__)


class CheckpointKeeper(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked
    """Seals, publishes and reports each checkpoint, and deletes surplus ones.

    Every rank adds what it alone knows (random numbers, sums) to the checkpoint; the first one
    does the rest, while the others wait.

    ``start``: the checkpoint that the attempt resumes from. ``manifest``: what all checkpoints of
    this attempt have in common (job, attempt, fingerprint). Add it before the reporter, which
    counts from what it puts back.
    """

    def __init__(
        self,
        trainer: Any,
        channel: Channel,
        reporter: Reporter,
        control: Control,
        pauser: Pauser,
        *,
        start: Start | None,
        manifest: Callable[[int, float], Manifest],
        keep: int,
        ranks: Ranks,
    ) -> None:
        self._trainer = trainer
        self._channel = channel
        self._reporter = reporter
        self._control = control
        self._pauser = pauser
        self._start = start
        self._manifest = manifest
        self._keep = keep
        self._ranks = ranks
        if start is not None:
            trainer.on_resumed = self._prove_resume

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Put back the sums of the loss since it was last logged."""
        if self._start is not None:
            LossSums.read(self._start.folder / self._ranks.file_name(LOSS_SUMS_NAME)).restore(
                self._trainer
            )
        elif not self._ranks.is_first:
            # Not the same dropout in every rank. The order of rows is fixed by now.
            set_seed(args.seed + self._ranks.index)
        self._reporter.begin_attempt(state, self._trainer._total_train_tokens)

    def _prove_resume(self) -> None:
        """Everything is back, no step is made: compare with the receipt of the checkpoint."""
        assert self._start is not None
        receipt = self._start.folder / self._ranks.file_name(RECEIPT_NAME)
        before = Receipt.model_validate_json(receipt.read_bytes())
        accumulation = self._start.manifest.accumulation
        if accumulation:
            # The same rows in micro-batches of another size.
            now_in_a_step = self._trainer.args.gradient_accumulation_steps
            position = before.data_position * now_in_a_step // accumulation
            before = before.model_copy(update={"data_position": position})
        now = take_receipt(
            self._trainer, "resumed", data_position=self._trainer.data_position, warm=False
        )
        log_receipt(now)
        compare(before, now)
        self._channel.send(now)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the step's data as consumed."""
        self._trainer.end_of_step()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the manifest, give the folder its name, tell the supervisor; pause if asked to."""
        partial = Path(args.output_dir) / checkpoint_name(state.global_step)
        receipt = take_receipt(self._trainer, "paused", data_position=self._trainer.data_position)
        name = self._ranks.file_name
        (partial / name(RECEIPT_NAME)).write_text(receipt.model_dump_json())
        LossSums.of(self._trainer).write(partial / name(LOSS_SUMS_NAME))
        self._ranks.barrier()
        path = f"{CHECKPOINTS}/{partial.name}"
        if self._ranks.is_first:
            self._keep_checkpoint(partial, path, state)
        self._ranks.barrier()
        if self._control.pausing:
            self._control.pausing = False
            self._pauser.pause(path, receipt)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What becomes the model is looked at as a checkpoint is."""
        self._trainer.check_weights()

    def _keep_checkpoint(self, partial: Path, path: str, state: Any) -> None:
        evaluated_now = self._reporter.last_eval_step == state.global_step
        metric = self._metric(state) if evaluated_now else None
        manifest = self._manifest(state.global_step, state.epoch or 0.0).model_copy(
            update={
                "train_loss": self._reporter.train_loss,
                "eval_loss": self._reporter.last_eval_loss if evaluated_now else None,
                "metric": metric,
            }
        )
        checkpoints.seal(partial, manifest)
        folder = checkpoints.publish(partial, partial.parent.parent)
        # Read back: what is reported, and what a pause rests on, is what lies in the folder.
        manifest = verify(folder)
        best = self.best()
        self._channel.send(
            Checkpoint(
                path=path,
                step=manifest.step,
                epoch=manifest.epoch,
                size_bytes=manifest.size_bytes,
                train_loss=manifest.train_loss,
                eval_loss=manifest.eval_loss,
                is_best=best == folder,
            )
        )
        logger.info("Checkpoint of step %d is written and verified", state.global_step)
        checkpoints.prune(folder.parent, self._keep, best)

    def best(self) -> Path | None:
        """The checkpoint with the best metric; None where none was evaluated."""
        arguments = self._trainer.args
        folder = Path(arguments.output_dir).parent
        return checkpoints.best(folder, greater=arguments.greater_is_better)

    def _metric(self, state: Any) -> float | None:
        name = self._trainer.args.metric_for_best_model
        value = next((e[name] for e in reversed(state.log_history) if name in e), None)
        return float(value) if value is not None and math.isfinite(value) else None
