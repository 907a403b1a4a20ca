"""Quotes of a CSV file: if they are in order, and in which line each record starts."""

from __future__ import annotations

from pathlib import Path

import numpy
from numpy.typing import NDArray

from tasks.datasets.readers.json.lines import skip_mark

BLOCK_BYTES = 1024 * 1024  # stays in the processor's cache while it is gone over
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'


def lines_of_records(path: Path, delimiter: str) -> NDArray[numpy.int32] | None:
    """The line (from 1) that each record starts in; None where the quotes are not in order.

    In order: every quote opens a field, closes one, or stands doubled inside of one.
    """
    scan = _Scan(delimiter)
    with path.open("rb") as file:
        skip_mark(file)
        while block := file.read(BLOCK_BYTES):
            # A run of quotes is not cut, nor a line end of two characters.
            while block[-1] in (_QUOTE, _RETURN) and (more := file.read(1)):
                block += more
            if not scan.add(block):
                return None
    return scan.finished()


class _Scan:
    """Inside or outside of quotes is the parity of the quotes so far.

    A run of them that starts outside must follow a field's start; one that ends outside must
    precede a field's end.
    """

    def __init__(self, delimiter: str) -> None:
        self._edges = numpy.zeros(256, bool)
        self._edges[[ord(delimiter), _NEWLINE, _RETURN]] = True
        self._inside = False
        self._last = _NEWLINE
        self._lines = 0
        self._record_line = 1
        self._found: list[NDArray[numpy.int32]] = []

    def add(self, block: bytes) -> bool:
        """False where the strict reader must look.

        The quotes are not in order, a line ends in a carriage return alone, or NUL stands there.
        """
        if b"\0" in block:
            return False
        text = numpy.frombuffer(block, numpy.uint8)
        marks = numpy.flatnonzero((text == _QUOTE) | (text == _NEWLINE))
        is_quote = text[marks] == _QUOTE
        quotes, newlines = marks[is_quote], marks[~is_quote]
        starts = quotes[numpy.flatnonzero(numpy.diff(quotes, prepend=-2) > 1)]
        ends = quotes[numpy.flatnonzero(numpy.diff(quotes, append=len(text) + 2) > 1)]
        inside_after = (numpy.cumsum(ends - starts + 1) + self._inside) % 2 == 1
        inside = numpy.concatenate(([self._inside], inside_after))
        left = self._edges[numpy.where(starts > 0, text[starts - 1], self._last)]
        right = self._edges[text[numpy.minimum(ends + 1, len(text) - 1)]] | (ends == len(text) - 1)
        if not (left | inside[:-1]).all() or not (right | inside_after).all():
            return False
        outside = ~inside[numpy.searchsorted(ends, newlines)]
        if not self._count_lines(block, text, newlines, outside):
            return False
        self._inside, self._last = bool(inside[-1]), block[-1]
        return True

    def _count_lines(
        self,
        block: bytes,
        text: NDArray[numpy.uint8],
        newlines: NDArray[numpy.int64],
        outside: NDArray[numpy.bool_],
    ) -> bool:
        before = numpy.where(newlines > 0, text[newlines - 1], self._last)
        if block.count(b"\r") != numpy.count_nonzero(before == _RETURN):
            return False
        start = newlines - (before == _RETURN)
        blank = numpy.where(start > 0, text[start - 1], self._last) == _NEWLINE
        ended = (self._lines + 1 + numpy.flatnonzero(outside)).astype(numpy.int32)
        if len(ended):
            began = numpy.concatenate(([self._record_line], ended[:-1] + 1)).astype(numpy.int32)
            self._found.append(began[~blank[outside]])
            self._record_line = int(ended[-1]) + 1
        self._lines += len(newlines)
        return True

    def finished(self) -> NDArray[numpy.int32] | None:
        if self._inside:
            return None
        if self._last != _NEWLINE:
            self._found.append(numpy.array([self._record_line], numpy.int32))
        return numpy.concatenate(self._found) if self._found else numpy.zeros(0, numpy.int32)
