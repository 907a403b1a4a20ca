"""Job folder: the names of what lies in it, the same to every side and on every host."""

from __future__ import annotations

import re

REQUEST, LOG, METRICS = "request.json", "train.log", "metrics.jsonl"
LOG_BEFORE = "train.log.1"
"""The log before, of a job that printed so much that its log began anew."""
PUT_BACK = "put-back"
"""File with the attempt that gave its job back: Redis may have been away when it did."""
CHECKPOINTS, MODEL, PREDICTIONS = "checkpoints", "model", "predictions.jsonl"
MERGED = "merged"
"""In the result's folder: an adapter with its base model."""
DATA_REPORT = "data.json"
CHECKPOINT_PATTERN = rf"(?:{CHECKPOINTS}/)?(checkpoint-[0-9]{{1,12}})/?"


def checkpoint_name(step: int) -> str:
    """The folder of the checkpoint of ``step``, as the Trainer names it."""
    return f"checkpoint-{step}"


def checkpoint_path(name: str) -> str | None:
    """``checkpoints/checkpoint-N``, relative to a job's folder; None if ``name`` is none."""
    found = re.fullmatch(CHECKPOINT_PATTERN, name)
    return f"{CHECKPOINTS}/{found[1]}" if found else None
