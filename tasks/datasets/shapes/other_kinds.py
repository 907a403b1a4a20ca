"""Data sets that have the columns of one kind and mean another: refused by what stands in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from tasks.datasets.readers.rows import Row
from tasks.datasets.shapes.canonical import is_missing
from tasks.datasets.shapes.shape import Shape
from tasks.errors import DatasetError

_ROWS = 1000
"""So many rows are looked at."""

_MEDIA = ("image", "images", "audio", "audios", "video", "videos", "pixel_values")
_KTO = ("label", "kto_tag")
_GOOD = (
    *("is_correct", "correct", "is_good", "good", "is_accepted", "accepted", "is_desirable"),
    *("desirable", "preferred", "is_preferred", "thumbs_up", "upvoted", "is_chosen"),
)
_BAD = ("is_bad", "bad", "is_wrong", "wrong", "is_rejected", "thumbs_down", "downvoted")
_CHOICES = ("choices", "options", "endings")
_INDEX = re.compile(r"\s*(?:[A-Ja-j]|\d)\s*\)?\.?\s*")
_BY_HAND = "To use the rows as they are, name the columns to train on in config.data.columns."


def refuse_other_kinds(columns: Sequence[str], rows: Iterable[Row], shape: Shape) -> None:
    """Raise DatasetError if other columns say that the rows are no good to train on as ``shape``.

    It says what the set is and which method would fit.
    """
    by_lower = {column.lower(): column for column in reversed(columns)}
    used = {column.lower() for column in shape.columns.values()}
    others = {name: column for name, column in by_lower.items() if name not in used}
    checks: list[tuple[Sequence[str], Callable[..., None]]] = [(_MEDIA, _refuse_media)]
    if shape.name in ("prompt_completion", "dialogue", "messages"):
        checks += [(_KTO, _refuse_labels), ((*_GOOD, *_BAD), _refuse_marks)]
        checks.append((_CHOICES, _refuse_choices))
    found = [(others[name], check) for names, check in checks for name in names if name in others]
    sample = list(islice(rows, _ROWS)) if found else []
    for column, check in found:
        check(column, sample, shape)


def _values(rows: Sequence[Row], column: str) -> list[Any]:
    return [value for row in rows if not is_missing(value := row.get(column))]


def _truths(values: Sequence[Any], *, numbers: bool) -> set[bool]:
    """What ``values`` say, if all are true or false (``numbers``: also 1 and 0); else nothing."""
    spelled: Mapping[str, bool] = {"true": True, "false": False}
    found = set()
    for value in values:
        if isinstance(value, bool):
            found.add(value)
        elif isinstance(value, str) and value.strip().lower() in spelled:
            found.add(spelled[value.strip().lower()])
        elif numbers and str(value).strip() in ("0", "1"):
            found.add(str(value).strip() == "1")
        else:
            return set()
    return found


def _refuse_media(column: str, rows: Sequence[Row], _: Shape) -> None:
    if any(value not in ("", [], {}) for value in _values(rows, column)):
        raise DatasetError(
            f"The data set has the column {column!r}: its rows are not of text alone.",
            f"This trains text; vision rows are not supported yet. {_BY_HAND}",
        )


def _refuse_labels(column: str, rows: Sequence[Row], _: Shape) -> None:
    if False in _truths(_values(rows, column), numbers=True):
        raise DatasetError(
            f"The data set is one of labelled answers (KTO): {column!r} marks some of them as bad, "
            "and they would be trained on like the good ones.",
            "Keep the rows whose label is true and leave the column out, or make pairs of chosen "
            "and rejected answers and send config.training.method dpo. " + _BY_HAND,
        )


def _refuse_marks(column: str, rows: Sequence[Row], _: Shape) -> None:
    if (column.lower() in _BAD) in _truths(_values(rows, column), numbers=False):
        raise DatasetError(
            f"The column {column!r} marks some of the answers as bad, and they would be trained on "
            "like the good ones.",
            "Keep the good rows and leave the column out, or make pairs of chosen and rejected "
            f"answers and send config.training.method dpo. {_BY_HAND}",
        )


def _refuse_choices(column: str, rows: Sequence[Row], shape: Shape) -> None:
    answer = shape.columns.get("answer", shape.columns.get("completion"))
    answers = _values(rows, answer) if answer is not None else []
    if answers and all(_INDEX.fullmatch(str(value)) for value in answers):
        raise DatasetError(
            f"The data set is one of multiple choice: {answer!r} is a number or letter of one of "
            f"the {column!r}, which are not in the prompt.",
            "Write the choices into the question, and the right one into the answer. " + _BY_HAND,
        )
