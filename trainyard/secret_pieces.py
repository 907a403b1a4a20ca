"""Pieces of known secrets: eight characters of one are masked, wherever in a text they stand.

What leaks by a defect is seldom whole: the end of a line cuts it, an offset begins one late.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

PIECE_CHARACTERS_MIN = 8
_GRAM_BYTES = 4
"""Of any 8 bytes in a row, 4 stand at a multiple of 4: those are looked at first, and fast."""
_DISTINCT_MIN = 4
"""A row of dashes or zeros is in every log."""
_WORD = re.compile(r"(?<![A-Za-z0-9])[a-z]{8,12}(?![A-Za-z0-9])")
"""A word between two separators, as of a token `job-training-91`: no random value holds one."""


class SecretPieces:
    """Finds pieces of ``values``, but not those that are in a text of ``public``."""

    def __init__(self, values: Iterable[str], public: Collection[str] = ()) -> None:
        self._pieces = frozenset(
            piece
            for value in values
            for piece in _pieces_of(value)
            if not any(piece in text for text in public)
        )
        encoded = [piece.encode(errors="surrogatepass") for piece in self._pieces]
        self._encoded = frozenset(encoded)
        self._is_ascii = all(len(data) == PIECE_CHARACTERS_MIN for data in encoded)
        self._grams = frozenset(
            int.from_bytes(data[at : at + _GRAM_BYTES], "little")
            for data in encoded
            for at in range(len(data) - _GRAM_BYTES + 1)
        )

    def may_be_in(self, text: str) -> bool:
        """False if no piece is in ``text``: for nearly all that a training prints."""
        if not self._grams:
            return False
        data = text.encode(errors="surrogatepass")
        words = memoryview(data[: len(data) // _GRAM_BYTES * _GRAM_BYTES]).cast("I")
        if self._grams.isdisjoint(words):
            return False
        if not self._is_ascii:
            return True
        # Words of four bytes are shared easily (`tokens` and `job-token`): now the whole pieces.
        return any(
            data[start : start + PIECE_CHARACTERS_MIN] in self._encoded
            for number, word in enumerate(words)
            if word in self._grams
            for start in range(max(0, _GRAM_BYTES * (number - 1) + 1), _GRAM_BYTES * number + 1)
        )

    def masked(self, text: str, mask: str) -> str:
        """``text`` with ``mask`` for each stretch that pieces make up."""
        if not self.may_be_in(text):
            return text
        kept, done, at = [], 0, 0
        last = len(text) - PIECE_CHARACTERS_MIN
        while at <= last:
            if text[at : at + PIECE_CHARACTERS_MIN] not in self._pieces:
                at += 1
                continue
            kept += [text[done:at], mask]
            while at < last and text[at + 1 : at + 1 + PIECE_CHARACTERS_MIN] in self._pieces:
                at += 1
            done = at = at + PIECE_CHARACTERS_MIN
        return "".join([*kept, text[done:]])


def _pieces_of(value: str) -> Iterable[str]:
    words = [found.span() for found in _WORD.finditer(value)]
    for at in range(len(value) - PIECE_CHARACTERS_MIN + 1):
        end = at + PIECE_CHARACTERS_MIN
        piece = value[at:end]
        in_a_word = any(first <= at and end <= last for first, last in words)
        if not in_a_word and len({*piece}) >= _DISTINCT_MIN and not re.search(r"\s", piece):
            yield piece
