"""Values of a row's cells: nulls that a table invents, texts that show nothing, JSON in a text."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from tasks.datasets.shapes.problems import RowProblem

_DEPTH = 40
"""Of what is nested in a message: with more a template would run out of stack."""
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\ufe0e\ufe0f\uffa0")
"""Letters, marks and signs that are drawn as nothing."""


def without_nulls(value: Any, depth: int = 0) -> Any:
    """``value`` without keys that hold null or NaN: Arrow gives every object the keys of all.

    Raises RowProblem if it is nested too deep.
    """
    if depth > _DEPTH:
        raise RowProblem(f"it is nested more than {_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {
            str(key): without_nulls(inner, depth + 1)
            for key, inner in value.items()
            if not is_missing(inner)
        }
    if isinstance(value, list | tuple):
        return [without_nulls(inner, depth + 1) for inner in value]
    return value


def is_missing(value: Any) -> bool:
    """Whether ``value`` is null or NaN, which a table has where nothing stands."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_blank(text: str) -> bool:
    """Whether nothing of ``text`` can be seen: blanks, zero-width characters, fillers."""
    return all(
        char.isspace() or char in _INVISIBLE or unicodedata.category(char) in ("Cc", "Cf")
        for char in text
    )


def from_json(text: str, what: str) -> Any:
    """The value that ``text`` holds as JSON. Raises RowProblem."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise RowProblem(f"{what} holds text that is no JSON") from None
    without_nulls(found)  # for its depth alone
    return found
