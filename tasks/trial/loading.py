"""Loading of a training: optimizer and schedule are built first, then the models, then all is tried
on two rows, so that what is wrong is found in the order of its cost."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.callbacks.trackers import choose_places
from tasks.checkpoints.disk import check_room
from tasks.methods.parts import load_parts
from tasks.methods.registry import make_arguments, make_trainer
from tasks.preparation import Prepared
from tasks.run import Run
from tasks.trial.dry_build import build_on_dummy
from tasks.trial.liger import use_liger
from tasks.trial.scores import hold_scores
from tasks.trial.trial import hold

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """The Trainer, the record of its trial, and the kernels of its model's layers, in words."""

    trainer: Any
    trial: Mapping[str, Any]
    kernels: str


def load_training(run: Run, prepared: Prepared) -> Loaded:
    """Load the models, make the Trainer over them and try it.

    Raises ConfigurationError, ModelError and DiskTooSmall.
    """
    config, arguments = run.config, prepared.arguments
    args = make_arguments(arguments, config)
    build_on_dummy(args, _steps(run, prepared))
    with run.phases.phase("load_model"):
        parts = load_parts(
            run.spec,
            prepared.folders,
            prepared.tokenizer,
            prepared.new_tokens,
            config,
            arguments,
        )
    choose_places(arguments.values["report_to"], run.job_dir)
    with run.phases.phase("trainer"):
        trainer = make_trainer(parts, prepared.tokenizer, prepared.data, args, config)
    check_room(
        run.job_dir,
        trainer.model,
        kept=arguments.save_total_limit,
        saves=trainer.args.save_strategy != "no",
        merged=config.training.merge_adapter,
    )
    kernels, asked = arguments.kernels, config.training.use_liger_kernel
    with run.phases.phase("trial"):
        said = kernels.why
        if kernels.liger:
            said = use_liger(trainer, config.model.name, said, required=asked is True)
        trial = _try(run, trainer)
    return Loaded(trainer, trial, said)


def _try(run: Run, trainer: Any) -> dict[str, Any]:
    training = run.config.training
    if training.sharded:
        reason = "no process has the whole model (fsdp)"
        logger.info("No trial on two rows: %s", reason)
        return {"skipped": reason}
    if training.how.scores_texts:
        return hold_scores(trainer, run.config.model.name)
    compares = training.how.reference_model or training.how.samples_answers
    return hold(trainer, run.config.model.name, compares=compares).as_record()


def _steps(run: Run, prepared: Prepared) -> int:
    """About how many steps the training makes; packing makes them fewer."""
    training = run.config.training
    if training.max_steps is not None:
        return training.max_steps
    rows = training.batch_size * training.gradient_accumulation_steps * training.processes
    return max(1, math.ceil(len(prepared.data.train.dataset) / rows * training.num_epochs))
