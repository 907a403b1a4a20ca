"""Fit check: a training's longest rows, forward and backward, before the first step."""

from __future__ import annotations

import heapq
import logging
import time
from typing import Any

import torch
from transformers import TrainerCallback

from tasks.callbacks.random_numbers import random_numbers_kept
from tasks.channel import Channel
from tasks.checkpoints.disk import OPTIMIZER_BYTES_PER_PARAMETER
from tasks.checkpoints.loss_sums import LossSums
from tasks.methods.samplers import row_lengths
from trainyard.contract.events import Phase
from trainyard.contract.units import GB

logger = logging.getLogger(__name__)


class FitCheck(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Tries the longest rows as the training begins; reports peak memory and the time it took.

    What runs out of memory there raises as in a step: the training is then tried again in smaller
    pieces, with nothing lost. For a GPU; without one there is no peak to report.
    """

    def __init__(self, trainer: Any, channel: Channel) -> None:
        self._trainer = trainer
        self._channel = channel

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Try, and say what it took."""
        started = time.monotonic()
        if args.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(args.device)
        longest = try_longest_rows(self._trainer)
        if args.device.type == "cuda":
            say_peak(self._trainer, longest)
        self._channel.send(Phase(name="fit_check", seconds=round(time.monotonic() - started, 3)))


def try_longest_rows(trainer: Any) -> int:
    """Forward and backward on the longest rows that one micro-batch can hold; returns the tokens
    of the longest one.

    No optimizer step. Gradients, random numbers and what the trainer has summed up are as before,
    so that the training comes to the same bits with and without it.
    """
    dataset = trainer._remove_unused_columns(trainer.train_dataset, "training")
    lengths = row_lengths(trainer.train_dataset)
    chosen = heapq.nlargest(trainer.args.train_batch_size, range(len(lengths)), lengths.__getitem__)
    sums = LossSums.of(trainer)
    # The Trainer sets it with each step's batches.
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    with random_numbers_kept():
        batch = trainer.data_collator([dataset[index] for index in chosen])
        try:
            trainer.training_step(trainer.model_wrapped, batch)
        finally:
            trainer.model_wrapped.zero_grad(set_to_none=True)
            trainer._metrics["train"].clear()
            sums.restore(trainer)
    return lengths[chosen[0]]


def say_peak(trainer: Any, longest: int) -> None:
    """One line of the log: peak memory against what the GPU has."""
    device = trainer.args.device
    peak = torch.cuda.max_memory_allocated(device)
    total = torch.cuda.get_device_properties(device).total_memory
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    shares = trainer.args.world_size if trainer.is_fsdp_enabled else 1
    to_come = 0 if trainer.optimizer.state else OPTIMIZER_BYTES_PER_PARAMETER * trained / shares
    logger.info(
        "Fit check: %d rows of up to %d tokens take %.2f GB at the peak, and the optimizer up to "
        "%.2f GB more; the GPU has %.2f GB",
        trainer.args.train_batch_size,
        longest,
        peak / GB,
        to_come / GB,
        total / GB,
    )
