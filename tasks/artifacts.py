"""The result of a job: ``model/``, whole or not there."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from tasks.checkpoints import PICKLED_ARGUMENTS_NAME, sync

MODEL_DIR_NAME = "model"

logger = logging.getLogger(__name__)


def save_model(trainer: Any, job_dir: Path) -> Path:
    """Write the trained model (or PEFT adapter) and its tokenizer to ``job_dir/model``.

    ``AutoModelForCausalLM.from_pretrained`` loads it. Written beside its place and renamed when
    all of it is on the disk. Returns the folder.
    """
    target = job_dir / MODEL_DIR_NAME
    partial = job_dir / f"{MODEL_DIR_NAME}.partial"
    if partial.exists():
        shutil.rmtree(partial)
    trainer.model.config.use_cache = True  # training switches the key-value cache off
    trainer.save_model(str(partial))
    (partial / PICKLED_ARGUMENTS_NAME).unlink(missing_ok=True)
    for path in partial.rglob("*"):
        sync(path)
    sync(partial)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    sync(job_dir)
    logger.info("The model is saved: %s", target)
    return target
