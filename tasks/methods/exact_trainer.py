"""Exact resume of TRL's trainers, and its proof: a mixin in front of each of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tasks.checkpoints.disk import full_disk
from tasks.methods.samplers import LengthGroupedSampler, row_lengths
from tasks.models.end_tokens import accept_faults
from tasks.ranks.sharding import ShardedTrainer
from trainyard.contract.job_folder import checkpoint_name


class ExactCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked
    """A callback with two moments for which the Trainer has none."""

    def before_save(self) -> None:
        """A checkpoint is to be written; raises if none must be."""

    def on_resumed(self) -> None:
        """Model, optimizer, scheduler and random numbers are back, and no step has been made."""


class ExactTrainer(ShardedTrainer):
    """Mixin for a ``transformers.Trainer``.

    Orders rows by nothing but seed and epoch, counts the micro-batches of the epoch that were
    consumed (``data_position``), and calls those of its callbacks that are an ExactCallback.
    """

    data_position = 0

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: TRL makes one at each checkpoint."""

    def _save_checkpoint(self, *arguments: Any, **more: Any) -> None:
        """A checkpoint that found no room leaves nothing behind. Raises DiskTooSmall."""
        for callback in self._exact_callbacks():
            callback.before_save()
        folder = Path(self.args.output_dir)
        try:
            super()._save_checkpoint(*arguments, **more)
        except Exception as error:
            full = full_disk(error, folder)
            shutil.rmtree(folder / checkpoint_name(self.state.global_step), ignore_errors=True)
            if full is None:
                raise
            raise full from error

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        accept_faults(self.accelerator.unwrap_model(self.model))
        super()._save(output_dir, state_dict)

    def loss_sum(self) -> float:
        """Sum of the losses of the steps since the last logged one."""
        return float(self._tr_loss.item())

    def trained_tokens(self) -> int:
        """Tokens but padding that were trained on since the job's start, over all processes."""
        return int(self._total_train_tokens)

    def open_sums(self) -> dict[str, float]:
        """This process's sums since the last logged step, of a trainer that keeps any."""
        return {}

    def put_back_sums(self, sums: Mapping[str, float]) -> None:
        """Go on from what ``open_sums`` gave."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        return LengthGroupedSampler(
            row_lengths(self.train_dataset if train_dataset is None else train_dataset),
            self.args.train_batch_size
            * self.args.gradient_accumulation_steps
            * self.args.world_size,
            self.args.seed,
        )

    def _run_epoch(self, **arguments: Any) -> None:
        resumed = arguments["resume_from_checkpoint"] is not None
        first = resumed and arguments["epoch"] == arguments["epochs_trained"]
        self.data_position = arguments["steps_trained_in_current_epoch"] if first else 0
        self._fetched = self.data_position
        if first and self._had_ended():
            # The Trainer looks for its end after a step only, and would make one too many.
            self._load_rng_state(arguments["resume_from_checkpoint"])
            self.control.should_training_stop = True
            return
        super()._run_epoch(**arguments)

    def _had_ended(self) -> bool:
        """Whether the checkpoint is of the training's last step, or of where it stopped early."""
        flow = self.state.stateful_callbacks["TrainerControl"]["args"]
        return bool(self.state.global_step >= self.state.max_steps or flow["should_training_stop"])

    def get_batch_samples(self, *arguments: Any, **more: Any) -> Any:
        """Fetch the micro-batches of the next step, counting them."""
        samples, items = super().get_batch_samples(*arguments, **more)
        self._fetched += len(samples)
        return samples, items

    def end_of_step(self) -> None:
        """The step is made: what was fetched for it counts as consumed; an epoch's end as 0."""
        epoch_is_over = float(self.state.epoch or 0.0).is_integer()
        self.data_position = 0 if epoch_is_over else self._fetched

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if checkpoint is not None:
            for callback in self._exact_callbacks():
                callback.on_resumed()

    def _exact_callbacks(self) -> list[ExactCallback]:
        added = self.callback_handler.callbacks
        return [callback for callback in added if isinstance(callback, ExactCallback)]
