"""What is tried when a training does not fit: the same effective batch in smaller pieces."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from typing import Any

import torch

from tasks.errors import report
from trainyard.contract.config import JobConfig
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.events import TrainingSpec
from trainyard.contract.request import TrainingRequest

logger = logging.getLogger(__name__)


def _changed(config: JobConfig, **changes: Any) -> JobConfig:
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def smaller(config: JobConfig) -> tuple[JobConfig, str] | None:
    """What needs less memory and trains alike, and how to say so; None where nothing is left.

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
    spec: TrainingSpec,
    request: TrainingRequest,
    error: BaseException | ErrorReport,
    seconds: Mapping[str, float],
) -> tuple[TrainingSpec, TrainingRequest] | None:
    """How to go on after ``error`` from the last good checkpoint, said in the log.

    None where it is no lack of memory in the training itself (``seconds``: the phases that ended),
    where the request does not want it, or where nothing smaller is left.
    """
    found = error if isinstance(error, ErrorReport) else report(error)
    less = smaller(request.config)
    loaded = "trainer" in seconds
    wanted = request.config.training.retry_out_of_memory and loaded
    if found.kind is not ErrorKind.OUT_OF_MEMORY or not wanted or less is None:
        return None
    config, said = less
    logger.warning("%s Trying again from the last checkpoint, %s.", found.message, said)
    again = spec.model_copy(update={"resume_from": None, "from_start": False})
    return again, request.model_copy(update={"config": config})


def like(config: JobConfig, batch_size: int, accumulation: int) -> JobConfig:
    """``config`` in the pieces that a checkpoint was trained in, where its effective batch is
    the same; else as it is."""
    training = config.training
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
    """Give back what the failed try held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
