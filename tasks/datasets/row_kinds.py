"""Kinds of rows that methods learn from: one record each, found by the ``rows`` of a method.

A kind says how its columns are recognised, how a row is stored, and how stored rows are tokenised;
nothing else in ``tasks/datasets`` asks which kind it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.datasets.parts import Part
from tasks.datasets.shapes.format import format_paragraph, format_row
from tasks.datasets.shapes.part_shape import Recogniser, recognise_part, recognise_text
from tasks.datasets.shapes.preference import (
    format_labelled,
    format_preference,
    recognise_labelled,
    recognise_preference,
)
from tasks.datasets.shapes.prompts import format_prompt, recognise_prompts
from tasks.datasets.shapes.shape import Shape, recognise_shape
from tasks.datasets.shapes.training_rows import Formatter, StoredRows, store_rows
from tasks.datasets.tokens.documents import documents_of
from tasks.datasets.tokens.render import Rendering
from tasks.datasets.tokens.tokenise import ChosenRows, Tokenised, tokenise
from tasks.datasets.tokens.tokenise_preference import tokenise_preferences
from tasks.datasets.tokens.tokenise_prompts import collect_prompts
from trainyard.contract.config import DataConfig, TrainingConfig
from trainyard.contract.methods import DEFAULT_METHOD, METHODS, RowsName


@dataclass(frozen=True)
class RowKind:
    """One kind.

    ``recognise``: the shape of its columns. ``columns``: texts of a stored row, which the
    ``formatter`` of a part makes; ``tokenise`` turns them into what the trainer reads:
    ``input_ids`` with ``labels``, or ``prompt_ids`` with the ``*_ids`` of its answers, or
    ``prompt``.
    """

    recognise: Recogniser
    columns: tuple[str, ...]
    formatter: Callable[[Part], Formatter]
    tokenise: Callable[[ChosenRows, Rendering, TrainingConfig], Tokenised]


def _tokenise_documents(chosen: ChosenRows, how: Rendering, _: TrainingConfig) -> Tokenised:
    if chosen.files:
        how = replace(how, documents=documents_of(chosen.files, chosen.rows, chosen.indices))
    return tokenise(chosen, how)


def _tokenise_labelled(chosen: ChosenRows, how: Rendering, training: TrainingConfig) -> Tokenised:
    longest = training.max_prompt_length
    return tokenise_preferences(chosen, how, longest, answers=("completion",), labelled=True)


def _collect_prompts(chosen: ChosenRows, how: Rendering, training: TrainingConfig) -> Tokenised:
    compared = training.rlhf is not None and "answer" in training.rlhf.reward_functions
    return collect_prompts(chosen, how, compared=compared)


_ANSWERS = RowKind(
    recognise_shape,
    ("text", "prompt", "completion", "messages", "tools"),
    lambda _: format_row,
    lambda chosen, how, _: tokenise(chosen, how),
)
ROW_KINDS: Mapping[RowsName, RowKind] = {
    "answers": _ANSWERS,
    "documents": replace(
        _ANSWERS,
        recognise=recognise_text,
        formatter=lambda part: format_paragraph if part.continuous else format_row,
        tokenise=_tokenise_documents,
    ),
    "pairs": RowKind(
        recognise_preference,
        ("prompt", "chosen", "rejected", "tools"),
        lambda _: format_preference,
        lambda chosen, how, training: tokenise_preferences(chosen, how, training.max_prompt_length),
    ),
    "labelled": RowKind(
        recognise_labelled,
        ("prompt", "completion", "label", "tools"),
        lambda _: format_labelled,
        _tokenise_labelled,
    ),
    "prompts": RowKind(
        recognise_prompts, ("prompt", "completion"), lambda _: format_prompt, _collect_prompts
    ),
}
"""By the ``rows`` that the records of the methods name."""


def kind_for(method: str) -> RowKind:
    """The kind of rows that ``method`` learns from."""
    return ROW_KINDS[METHODS[method].rows]


def shape_of(part: Part, data: DataConfig, method: str = DEFAULT_METHOD) -> Shape:
    """The shape of a part's rows for ``method``. Raises DatasetError."""
    return recognise_part(part, data, method, kind_for(method).recognise)


def rows_of(part: Part, shape: Shape, cache_dir: Path, method: str = DEFAULT_METHOD) -> StoredRows:
    """A part's rows as ``method`` learns from them, read once. Raises DatasetError."""
    kind = kind_for(method)
    return store_rows(part, shape, cache_dir, kind.columns, kind.formatter(part))
