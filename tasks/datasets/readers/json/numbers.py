"""Numbers of JSON as they stand in a file: an answer of 1.50 is the text 1.50."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy

_DIGITS_OF_64_BITS = 19
_BEFORE = re.compile(rb"[:,\[]\s*-?\d+\Z")
_LONGEST = 40
"""Characters of a number that are looked at; a longer one has too many digits already."""


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


def as_spelled(spelling: str) -> float:
    """The number that JSON spells so."""
    number = float(spelling)
    return number if repr(number) == spelling else Number(spelling)


JSON = json.JSONDecoder(parse_float=as_spelled)


def has_unusual_number(block: bytes) -> bool:
    """Whether ``block`` may hold a number that orjson would change: with a point or an exponent,
    which may be spelled in several ways, or an integer beyond 64 bits.
    """
    characters = numpy.frombuffer(block, numpy.uint8)
    return _has_long_number(block, characters) or _has_fraction(block, characters)


def _has_long_number(block: bytes, characters: Any) -> bool:
    """Such a run of digits covers two neighbours among every eighth byte, looked at first."""
    digits = characters[::8] - ord("0") < 10
    for index in numpy.flatnonzero(digits[:-1] & digits[1:]):
        around = block[max(int(index) * 8 - 24, 0) : int(index) * 8 + 32]
        length = 0
        for character in around:
            length = length + 1 if 48 <= character <= 57 else 0
            if length >= _DIGITS_OF_64_BITS:
                return True
    return False


def _has_fraction(block: bytes, characters: Any) -> bool:
    signs = (characters == ord(".")) | ((characters | 32) == ord("e"))
    places = numpy.flatnonzero(signs[1:]) + 1
    places = places[characters[places - 1] - ord("0") < 10]
    return any(_BEFORE.search(block, max(place - _LONGEST, 0), place) for place in places.tolist())
