"""Merged copy of an adapter's result: its sum with the base model, if that answers as it does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tasks.models.end_tokens import accept_faults
from tasks.preparation import Prepared
from tasks.results.dtype import dtype_of_files, hold_as_saved, round_weights, say_dtype
from tasks.results.files import write_generation_config
from tasks.results.reference import difference, reference
from tasks.results.reload import Question
from tasks.results.verify import leave_out_merged, of_merged
from tasks.run import Run
from trainyard.contract.config import JobConfig
from trainyard.contract.job_folder import MERGED

logger = logging.getLogger(__name__)


def wants_merge(config: JobConfig) -> bool:
    """Whether a merged copy is wanted and can be made."""
    training = config.training
    if not training.merge_adapter or training.sharded:
        return False
    quantised = any((training.quantization or {}).values())
    if not training.use_lora or quantised:
        why = "the base model is quantised" if training.use_lora else "there is no adapter"
        logger.warning("Ignored: config.training.merge_adapter: %s", why)
        return False
    return True


def merge(run: Run, model: Any, prepared: Prepared, question: Question) -> Question | None:
    """Write the merged copy of ``model``; returns what it is to hold.

    None, with the reason said, if it does not answer as the adapter does. ``model`` is spent.
    """
    partial = Path(question.folder)
    tied = model.config.get_text_config().tie_word_embeddings
    merged = model.merge_and_unload()
    rows = [one.row for one in question.says]
    apart = max(
        difference(adapter.logits, sum_.logits)
        for adapter, sum_ in zip(question.says, reference(merged, rows), strict=True)
    )
    if not apart <= question.limit:
        why = ", whose embeddings are its head too" if tied else ""
        leave_out_merged(
            run,
            partial,
            f"merged with the base model{why}, its logits differ by {apart:.2g} of their size",
        )
        return None
    dtype = run.config.training.save_dtype or dtype_of_files(prepared.folders.model)
    dtype = dtype or question.dtype
    round_weights(merged, dtype)
    says = reference(merged, rows)
    hold_as_saved(merged, dtype)
    folder = partial / MERGED
    accept_faults(merged)
    merged.save_pretrained(folder)
    prepared.tokenizer.save_pretrained(folder)
    say_dtype(folder, dtype)
    write_generation_config(merged, folder, question.ends)
    logger.info("The merged copy is saved in %s", dtype)
    return of_merged(question, folder, says=says, saved_dtype=dtype)
