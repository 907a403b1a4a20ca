"""Numbers of JSON as they stand in a file: an answer of 1.50 is the text 1.50."""

from __future__ import annotations

import json
from typing import NoReturn


class Number(float):
    """A number whose spelling is not the one that Python would give it."""

    def __new__(cls, spelling: str) -> Number:
        """The number of that ``spelling``."""
        made = super().__new__(cls, spelling)
        made.spelling = spelling
        return made

    spelling: str

    def __str__(self) -> str:
        return self.spelling


def _as_spelled(spelling: str) -> float:
    number = float(spelling)
    return number if repr(number) == spelling else Number(spelling)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


JSON = json.JSONDecoder(parse_float=_as_spelled)
STRICT_JSON = json.JSONDecoder(parse_float=_as_spelled, parse_constant=_refuse_constant)
"""Without the NaN and Infinity that Python takes."""
