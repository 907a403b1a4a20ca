"""Verdicts on a training in words: each a sentence for people, with its kind for programs."""

from __future__ import annotations

from collections.abc import Mapping
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
    RANDOM_BASE = "random_base"
    TRAINED_PART = "trained_part"
    OVERFITTING = "overfitting"
    NO_END = "no_end"
    NOT_MERGED = "not_merged"
    NOT_VERIFIED = "not_verified"


MEANINGS: Mapping[VerdictKind, str] = {
    VerdictKind.ROWS_DROPPED: "rows of the data set are not trained on",
    VerdictKind.ROWS_CUT: "rows are longer than `max_length` and trained on in part",
    VerdictKind.DATA: "anything else that the data set's check warns of",
    VerdictKind.NO_EVAL: "the request asks for evals, and no row is there to evaluate",
    VerdictKind.RANDOM_BASE: "the base model predicts no better than chance",
    VerdictKind.TRAINED_PART: "how much of the model an adapter trains, and which layers",
    VerdictKind.OVERFITTING: "the eval loss rose after its best",
    VerdictKind.NO_END: "the model does not learn to stop, or was not seen to",
    VerdictKind.NOT_MERGED: "a merged copy was asked for and is not offered",
    VerdictKind.NOT_VERIFIED: "the result was not loaded again, or not all of it",
}
"""For the documentation, which a test compares."""


class Verdict(BaseModel):
    """One sentence, without a full stop."""

    kind: VerdictKind
    sentence: Annotated[str, Field(max_length=1000)]
