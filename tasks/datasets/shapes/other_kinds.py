"""Data sets that have the columns of one kind and mean another: refused by what stands in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from tasks.datasets.shapes.marks import (
    LABELS,
    held_out,
    index_of_choices,
    is_media,
    marks_bad,
    option_columns,
    tells_speakers,
    weighs_unlike,
)
from tasks.datasets.shapes.shape import Shape
from tasks.errors import DatasetError
from trainyard.contract.methods import listed, names

Values = Callable[[str], Iterable[Any]]
"""The values of a column, in order."""

_LEARNS_LABELS = listed(names(lambda how: how.rows == "labelled"), "or")
_WITH_ANSWERS = ("prompt_completion", "dialogue", "messages")
_BY_HAND = "To use the rows as they are, name the columns to train on in config.data.columns."


def refuse_other_kinds(columns: Sequence[str], values: Values, shape: Shape) -> None:
    """Raise DatasetError if other columns say that the rows are no good to train on as ``shape``.

    It says what the set is and which method would fit. All ``values`` of a suspect are looked at:
    data sets are sorted.
    """
    used = {column.lower() for column in shape.columns.values()}
    others = [column for column in columns if column.lower() not in used]
    for column in others:
        if is_media(column) and any(value not in (None, "", [], {}) for value in values(column)):
            raise DatasetError(
                f"The data set has the column {column!r}: its rows are not of text alone.",
                f"This trains text; vision rows are not supported yet. {_BY_HAND}",
            )
        if held_out(column, values(column)):
            raise DatasetError(
                f"The column {column!r} says which rows train and which are held out, and all "
                "would be trained on.",
                "Write each split to a file of its own (train.jsonl, test.jsonl), or keep the rows "
                f"to train on. {_BY_HAND}",
            )
        if weighs_unlike(column, values(column)):
            raise DatasetError(
                f"The column {column!r} gives rows a weight or says what of them is trained on, "
                "and all would be trained on alike.",
                "Keep the rows to train on and leave the column out, or give messages a weight of "
                f"0 or 1. {_BY_HAND}",
            )
        if shape.name == "text" and tells_speakers(column, values(column)):
            raise DatasetError(
                f"The column {column!r} says who speaks: each row is one message of a "
                "conversation, and all would be trained on, the questions too.",
                'Write each conversation as one row: {"messages": [{"role": ..., "content": ...}]}.'
                f" {_BY_HAND}",
            )
        may_be_bad = shape.name in _WITH_ANSWERS and "label" not in shape.columns
        if may_be_bad and marks_bad(column, values(column)):
            raise _bad_answers(column)
    if shape.name in _WITH_ANSWERS:
        _refuse_choices(others, values, shape)


def _bad_answers(column: str) -> DatasetError:
    labelled = (
        f"The data set is one of labelled answers (KTO): {column!r} marks some of them as bad, "
        "and they would be trained on like the good ones."
    )
    marked = (
        f"The column {column!r} marks some of the answers as bad, and they would be trained on "
        "like the good ones."
    )
    return DatasetError(
        labelled if column.lower() in LABELS else marked,
        f"Send config.training.method {_LEARNS_LABELS}, with the column as the role label of "
        "config.data.columns if it has another name; or keep the good rows and leave the column "
        f"out. {_BY_HAND}",
    )


def _refuse_choices(others: Collection[str], values: Values, shape: Shape) -> None:
    answer = shape.columns.get("answer", shape.columns.get("completion"))
    options = option_columns(others)
    if answer is not None and options and index_of_choices(values(answer)):
        raise DatasetError(
            f"The data set is one of multiple choice: {answer!r} is a number or letter of one of "
            f"the {options[0]!r}, which are not in the prompt.",
            "Write the choices into the question, and the right one into the answer. " + _BY_HAND,
        )
