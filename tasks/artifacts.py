"""The result of a job: ``model/``, whole or not there."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from tasks.checkpoints.disk import full_disk
from tasks.checkpoints.folder import PICKLED_ARGUMENTS_NAME
from trainyard.durable_files import sync

MODEL_DIR_NAME = "model"
MERGED_DIR_NAME = "merged"
CARD_NAME = "README.md"

logger = logging.getLogger(__name__)


def save_model(trainer: Any, job_dir: Path, card: str, *, merge: bool = False) -> Path:
    """Write the trained model (or PEFT adapter), its tokenizer and its ``card`` to ``model/``.

    ``AutoModelForCausalLM.from_pretrained`` loads it. With ``merge`` the adapter's sum with its
    base model lies in ``model/merged``. Written beside its place and renamed when all of it is on
    the disk. Returns the folder. Raises DiskTooSmall.
    """
    target = job_dir / MODEL_DIR_NAME
    partial = job_dir / f"{MODEL_DIR_NAME}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write(trainer, partial, card, merge)
    except Exception as error:
        full = full_disk(error, partial)
        shutil.rmtree(partial, ignore_errors=True)
        if full is None:
            raise
        raise full from error
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    sync(job_dir)
    logger.info("The model is saved: %s", target)
    return target


def _write(trainer: Any, folder: Path, card: str, merge: bool) -> None:
    trainer.model.config.use_cache = True  # training switches the key-value cache off
    trainer.save_model(str(folder))
    (folder / PICKLED_ARGUMENTS_NAME).unlink(missing_ok=True)
    (folder / CARD_NAME).write_text(card, encoding="utf-8")
    if merge:
        model = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
        model.save_pretrained(folder / MERGED_DIR_NAME)
        trainer.processing_class.save_pretrained(folder / MERGED_DIR_NAME)
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
