"""Names within a job's folder, and of its checkpoints."""

from __future__ import annotations

import re

CHECKPOINTS, MODEL, LOG = "checkpoints", "model", "train.log"
CHECKPOINT_PATTERN = rf"(?:{CHECKPOINTS}/)?(checkpoint-[0-9]{{1,12}})/?"


def checkpoint_path(name: str) -> str | None:
    """``checkpoints/checkpoint-N``, relative to a job's folder; None where ``name`` is none."""
    found = re.fullmatch(CHECKPOINT_PATTERN, name)
    return f"{CHECKPOINTS}/{found[1]}" if found else None
