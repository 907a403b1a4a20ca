"""Disk room of a job: looked at before the training, and told apart when it runs out."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from tasks.errors import TrainingError, report
from trainyard.contract.errors import ErrorKind
from trainyard.contract.job_folder import CHECKPOINTS
from trainyard.contract.units import GB, MIB

OPTIMIZER_BYTES_PER_PARAMETER = 8
"""AdamW's two moments in float32, the most that the usual optimizers keep."""
_FULL_BYTES = MIB
"""A disk with less room than this when a write failed counts as full."""

logger = logging.getLogger(__name__)


class DiskTooSmall(TrainingError):
    """The disk has no room for the job's checkpoints and its result."""

    kind = ErrorKind.DISK_FULL


def checkpoint_bytes(model: Any) -> int:
    """Size of one checkpoint: the trained weights and the optimizer's state."""
    trained = [p for p in model.parameters() if p.requires_grad]
    # A whole model is saved with what it does not train; of an adapter nothing else is.
    saved = trained if hasattr(model, "peft_config") else list(model.parameters())
    weights = sum(p.numel() * p.element_size() for p in saved)
    return int(weights + OPTIMIZER_BYTES_PER_PARAMETER * sum(p.numel() for p in trained))


def check_room(job_dir: Path, model: Any, *, kept: int, saves: bool, merged: bool) -> None:
    """Raise DiskTooSmall if the job's folder has no room for what is to be written.

    That is ``kept`` checkpoints and one more while it is written (none without ``saves``), less
    what lies there already, and the result, with a ``merged`` copy of the whole model.
    """
    one = checkpoint_bytes(model)
    whole = sum(p.numel() * p.element_size() for p in model.parameters())
    lies_there = sum(
        path.stat().st_size for path in (job_dir / CHECKPOINTS).rglob("*") if path.is_file()
    )
    needed = max((kept + 1) * one - lies_there, one) if saves else 0
    needed += one + (whole if merged else 0)
    free = shutil.disk_usage(job_dir).free
    logger.info("Disk: %.2f GB are needed at most, %.2f GB are free", needed / GB, free / GB)
    if needed > free:
        raise DiskTooSmall(
            f"The disk has {free / GB:.2f} GB free, and this job writes up to {needed / GB:.2f} "
            f"GB (a checkpoint has {one / GB:.2f} GB, {kept} are kept).",
            "Free space under TRAINYARD_HOME, lower training.save_total_limit, or train with LoRA.",
        )


def full_disk(error: Exception, folder: Path) -> DiskTooSmall | None:
    """What ``error`` of a write into ``folder`` means, if the disk is full; else None.

    torch and safetensors name the cause in words of their own, or not at all.
    """
    free = shutil.disk_usage(folder).free
    if report(error).kind is not ErrorKind.DISK_FULL and free >= _FULL_BYTES:
        return None
    return DiskTooSmall(
        f"The disk became full while {folder.name} was written ({free / GB:.3f} GB are free).",
        "Free space under TRAINYARD_HOME, or lower training.save_total_limit, and start the job "
        "again: earlier checkpoints are intact.",
    )
