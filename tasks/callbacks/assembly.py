"""Assembly of a run's callbacks: which there are, and the order in which the Trainer calls them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tasks.callbacks.best_keeper import BestKeeper
from tasks.callbacks.checkpointing import CheckpointKeeper
from tasks.callbacks.commands import Control
from tasks.callbacks.divergence import LossCheck, WeightCheck
from tasks.callbacks.early_stopping import EarlyStopping
from tasks.callbacks.fit_check import FitCheck
from tasks.callbacks.gpu_figures import GpuFigures
from tasks.callbacks.metrics import MethodFigures, MetricReporter
from tasks.callbacks.pauser import Pauser
from tasks.callbacks.predictions import add_predictions
from tasks.callbacks.trackers import finish_trackers, guard_trackers
from tasks.preparation import Prepared
from tasks.run import Run


@dataclass(frozen=True)
class Callbacks:
    """What the training asks of its callbacks: figures of the GPU, and of the training."""

    trainer: Any
    reporter: MetricReporter
    gpu: GpuFigures
    of_first: bool
    """Of the first rank; the others sample no GPU."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Around the training: the GPU is sampled; trackers write out what they have."""
        if self.of_first:
            self.gpu.start()
        try:
            yield
        finally:
            self.gpu.stop()
            finish_trackers(self.trainer)


def add_callbacks(run: Run, trainer: Any, prepared: Prepared) -> Callbacks:
    """Add what listens to the trainer.

    The order matters. Weights are looked at before a checkpoint is made of them; the keeper of the
    checkpoints puts back what the reporter counts from; a loss is reported before it is found to
    be no number; commands come last, when all others have had their say about the step.
    """
    config, data = run.config, prepared.data
    gpu = GpuFigures()
    rows, how = len(data.train.dataset), config.training.how
    reporter = MetricReporter(run.channel, rows, gpu.latest, perplexities=how.next_token)
    losses = LossCheck(run, trainer)
    control = Control(run.channel, reporter, losses)
    pauser = Pauser(run, trainer, control, reporter, gpu)
    guard_trackers(trainer, run.spec.job_id)
    callbacks = [
        WeightCheck(run, trainer),
        CheckpointKeeper(run, trainer, reporter, pauser, prepared),
        reporter,
        MethodFigures(),
        EarlyStopping(
            trainer.args.metric_for_best_model,
            evals=config.training.early_stopping_patience,
            epochs=config.training.epochs_without_improvement,
        ),
        *([BestKeeper()] if config.training.load_best_model_at_end else []),
        losses,
        control,
    ]
    # On a CPU there is no peak to report; sampled answers are yet to be generated.
    if trainer.args.device.type == "cuda" and not how.samples_answers:
        callbacks.insert(0, FitCheck(trainer, run.channel))
    for callback in callbacks:
        trainer.add_callback(callback)
    if run.ranks.is_first and not config.training.sharded and not how.scores_texts:
        add_predictions(run, trainer, data)
    return Callbacks(trainer, reporter, gpu, run.ranks.is_first)
