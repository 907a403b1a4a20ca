"""Checkpointing: each checkpoint that the Trainer wrote is completed, proven and reported.

And what the Trainer forgets at a resume is put back.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from transformers import set_seed

from tasks.callbacks.metrics import MetricReporter
from tasks.callbacks.pauser import Pauser
from tasks.checkpoints.folder import best_checkpoint, finish, prune
from tasks.checkpoints.loss_sums import LOSS_SUMS_NAME, LossSums
from tasks.checkpoints.receipts import RECEIPT_NAME, compare, log_receipt, take_receipt
from tasks.methods.exact_trainer import ExactCallback
from tasks.preparation import Prepared
from tasks.run import Run
from trainyard.contract.checkpoint_manifest import Manifest
from trainyard.contract.events import Checkpoint, Receipt
from trainyard.contract.job_folder import CHECKPOINTS, checkpoint_name

logger = logging.getLogger(__name__)


class CheckpointKeeper(ExactCallback):
    """Seals, publishes and reports each checkpoint, and deletes surplus ones.

    Every rank adds what only it knows (random numbers, sums) to the checkpoint; the first one does
    the rest, while the others wait. Add it before the reporter, which counts from what it puts
    back.
    """

    def __init__(
        self, run: Run, trainer: Any, reporter: MetricReporter, pauser: Pauser, prepared: Prepared
    ) -> None:
        self._run = run
        self._trainer = trainer
        self._reporter = reporter
        self._pauser = pauser
        self._prepared = prepared

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Put back the sums of the loss since it was last logged."""
        start, ranks = self._run.start, self._run.ranks
        if start is not None:
            LossSums.read(start.folder / ranks.file_name(LOSS_SUMS_NAME)).restore(self._trainer)
        elif not ranks.is_first:
            # Not the same dropout in every rank. The order of rows is fixed by now.
            set_seed(args.seed + ranks.index)
        self._reporter.begin_attempt(state, self._trainer.trained_tokens())

    def on_resumed(self) -> None:
        """Compare with the receipt of the checkpoint."""
        start = self._run.start
        assert start is not None, "the Trainer resumes from it"
        receipt = start.folder / self._run.ranks.file_name(RECEIPT_NAME)
        before = Receipt.model_validate_json(receipt.read_bytes())
        accumulation = start.manifest.accumulation
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
        self._run.channel.send(now)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the step's data as consumed."""
        self._trainer.end_of_step()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the manifest, give the folder its name, tell the supervisor; pause if asked to."""
        partial = Path(args.output_dir) / checkpoint_name(state.global_step)
        receipt = take_receipt(self._trainer, "paused", data_position=self._trainer.data_position)
        ranks = self._run.ranks
        name = ranks.file_name
        (partial / name(RECEIPT_NAME)).write_text(receipt.model_dump_json())
        LossSums.of(self._trainer).write(partial / name(LOSS_SUMS_NAME))
        ranks.barrier()
        path = f"{CHECKPOINTS}/{partial.name}"
        if ranks.is_first:
            self._keep_checkpoint(partial, path, state)
        ranks.barrier()
        self._pauser.pause_if_asked(path, receipt)

    def _keep_checkpoint(self, partial: Path, path: str, state: Any) -> None:
        # What is reported, and what a pause rests on, is what lies in the folder.
        folder, manifest = finish(partial, partial.parent.parent, self._manifest(state))
        best = best_checkpoint(folder.parent, greater=self._trainer.args.greater_is_better)
        self._run.channel.send(
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
        prune(folder.parent, self._prepared.arguments.save_total_limit, best)

    def _manifest(self, state: Any) -> Manifest:
        spec, training = self._run.spec, self._run.config.training
        evaluated_now = self._reporter.last_eval_step == state.global_step
        return Manifest(
            job_id=spec.job_id,
            attempt=spec.attempt,
            step=state.global_step,
            epoch=state.epoch or 0.0,
            fingerprint=self._prepared.fingerprint,
            train_loss=self._reporter.train_loss,
            eval_loss=self._reporter.last_eval_loss if evaluated_now else None,
            batch_size=training.batch_size,
            accumulation=training.gradient_accumulation_steps,
            metric=self._metric(state) if evaluated_now else None,
        )

    def _metric(self, state: Any) -> float | None:
        name = self._trainer.args.metric_for_best_model
        value = next((e[name] for e in reversed(state.log_history) if name in e), None)
        return float(value) if value is not None and math.isfinite(value) else None
