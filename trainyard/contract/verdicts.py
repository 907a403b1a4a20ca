"""Verdicts on a training in words: each a sentence for people, with its kind for programs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

VERDICTS_MAX = 20


class VerdictKind(StrEnum):
    """What a verdict is about, for programs."""

    ROWS_DROPPED = "rows_dropped"
    ROWS_CUT = "rows_cut"
    DATA = "data"
    NO_EVAL = "no_eval"
    BEST_NOT_SAVED = "best_not_saved"
    RANDOM_BASE = "random_base"
    TRAINED_PART = "trained_part"
    OVERFITTING = "overfitting"
    NO_END = "no_end"
    NOT_MERGED = "not_merged"
    NOT_VERIFIED = "not_verified"


NOTES = frozenset({VerdictKind.TRAINED_PART})
"""What is only to be known; all others ask for an act, and are warnings to whoever reads them."""


class Verdict(BaseModel):
    """One sentence, without a full stop."""

    kind: VerdictKind
    sentence: Annotated[str, Field(max_length=1000)]
