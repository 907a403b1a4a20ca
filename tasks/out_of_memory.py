"""Out of memory: the same effective batch is tried in smaller pieces."""

from __future__ import annotations

import gc
import logging
from typing import Any

import torch

from trainyard.contract.checkpoint_manifest import Manifest
from trainyard.contract.config import JobConfig
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.events import TrainingSpec
from trainyard.contract.request import TrainingRequest

logger = logging.getLogger(__name__)


def _changed(config: JobConfig, **changes: Any) -> JobConfig:
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def smaller(config: JobConfig) -> tuple[JobConfig, str] | None:
    """What needs less memory and trains alike, and how to say so; None if nothing is left.

    Half the micro-batch with twice the accumulation, down to single rows (an eval's batch too);
    then gradient checkpointing.
    """
    training = config.training
    batch, accumulation = training.batch_size, training.gradient_accumulation_steps
    if batch % 2 == 0:
        evaluated = max((training.eval_batch_size or batch) // 2, 1)
        said = (
            f"batch_size {batch} → {batch // 2} and gradient_accumulation_steps {accumulation} → "
            f"{accumulation * 2}: a step still trains on as many rows"
        )
        return _changed(
            config,
            batch_size=batch // 2,
            gradient_accumulation_steps=accumulation * 2,
            eval_batch_size=evaluated,
        ), said
    if batch > 1:
        said = f"batch_size {batch} → 1 and gradient_accumulation_steps {accumulation * batch}"
        return _changed(
            config,
            batch_size=1,
            gradient_accumulation_steps=accumulation * batch,
            eval_batch_size=1,
        ), said
    if not training.gradient_checkpointing:
        return _changed(config, gradient_checkpointing=True), "with gradient_checkpointing"
    return None


def try_smaller(
    spec: TrainingSpec, request: TrainingRequest, error: ErrorReport
) -> tuple[TrainingSpec, TrainingRequest] | None:
    """How to go on after ``error`` from the last good checkpoint, said in the log.

    None if it is no lack of memory, if the request does not want it, or if nothing smaller is left.
    """
    less = smaller(request.config)
    wanted = request.config.training.retry_out_of_memory
    if error.kind is not ErrorKind.OUT_OF_MEMORY or not wanted or less is None:
        return None
    config, said = less
    logger.warning("%s Trying again from the last checkpoint, %s.", error.message, said)
    again = spec.model_copy(update={"resume_from": None, "from_start": False})
    return again, request.model_copy(update={"config": config})


def like(config: JobConfig, manifest: Manifest) -> JobConfig:
    """``config`` in the pieces that a checkpoint was trained in, if its effective batch is the
    same; else as it is."""
    training, batch_size, accumulation = config.training, manifest.batch_size, manifest.accumulation
    asked = training.batch_size * training.gradient_accumulation_steps
    if batch_size * accumulation != asked or batch_size >= training.batch_size:
        return config
    logger.warning(
        "Adjusted: config.training.batch_size: %d → %d with gradient_accumulation_steps %d, as the "
        "checkpoint was trained after running out of memory",
        training.batch_size,
        batch_size,
        accumulation,
    )
    return _changed(
        config,
        batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        eval_batch_size=min(training.eval_batch_size or batch_size, batch_size),
    )


def free_memory() -> None:
    """Give back what was held, after the last reference to a model is gone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
