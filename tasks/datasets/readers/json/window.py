"""A window over the text of a large JSON document, which moves along as values are read."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, BinaryIO, NoReturn

from tasks.datasets.readers.json.numbers import as_spelled
from tasks.datasets.readers.problems import EndOfReading, ReadProblem

WINDOW_CHARACTERS = 4 * 1024 * 1024
LONGEST_VALUE = 256 * 1024 * 1024
_SPACE = re.compile(r"[ \t\r\n]*")
_NEXT_KEY = re.compile(r'\s*,\s*\{\s*"(?:[^"\\]|\\.)*"')


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=as_spelled)


class Window:
    """``data`` is the text in memory, ``position`` where reading stands in it.

    ``fills`` counts how often text was read from the file.
    """

    def __init__(self, file: BinaryIO, name: str, errors: str) -> None:
        self.data = ""
        self.position = 0
        self.fills = 0
        self._file = file
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors)
        self._ended = False
        self._line = 1
        self._counted = 0

    @property
    def line(self) -> int:
        """Line of the document, from 1, in which ``position`` stands."""
        self._line += self.data.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def advance(self, position: int) -> None:
        """Go on to ``position`` of ``data``."""
        self.position = position

    def fill(self) -> None:
        """Drop what was read; hold at least ``WINDOW_CHARACTERS`` where there are so many."""
        if not self._ended and len(self.data) - self.position < WINDOW_CHARACTERS // 2:
            self._more(WINDOW_CHARACTERS)

    def _more(self, size: int) -> None:
        _ = self.line
        self.fills += 1
        block = self._file.read(size)
        self._ended = not block
        self.data = self.data[self.position :] + self._decoder.decode(block, final=self._ended)
        self.position = self._counted = 0

    def peek(self) -> str:
        """The next character that is no space; the empty string at the end."""
        while True:
            found = _SPACE.match(self.data, self.position)
            assert found is not None
            self.position = found.end()
            if self.position < len(self.data) or self._ended:
                return self.data[self.position : self.position + 1]
            self._more(WINDOW_CHARACTERS)

    def peek_after(self, character: str) -> str:
        """The first character that is no space after ``character``, which stands here."""
        assert self.data[self.position] == character
        while True:
            found = _SPACE.match(self.data, self.position + 1)
            assert found is not None
            if found.end() < len(self.data) or self._ended:
                return self.data[found.end() : found.end() + 1]
            self._more(WINDOW_CHARACTERS)

    def expect(self, character: str) -> None:
        """Go past ``character``. Raises EndOfReading where another stands here."""
        if self.peek() != character:
            raise self.broken(f"{character!r} is missing")
        self.position += 1

    def value(self) -> Any:
        """Read the JSON value that starts here. Raises EndOfReading."""
        self.peek()
        size = WINDOW_CHARACTERS
        while True:
            try:
                value, end = _decoder.raw_decode(self.data, self.position)
            except json.JSONDecodeError as error:
                at_the_end = error.pos >= len(self.data) - 8 or "Unterminated" in error.msg
                if self._ended or not at_the_end or size > LONGEST_VALUE:
                    # An unterminated string is told by its start, which is the place to show.
                    self.advance(min(error.pos, len(self.data)))
                    raise self.broken(error.msg) from error
            except RecursionError:
                raise self.broken("a value is nested too deeply") from None
            except ValueError as error:
                raise self.broken(str(error)) from error
            else:
                # A number may go on where the window ends: 1 may be 1.5, or 1e-5.
                if end + 2 < len(self.data) or self._ended or isinstance(value, dict | list | str):
                    self.position = end
                    return value
            self._more(size)
            size *= 2

    def peek_value(self) -> Any:
        """The value that starts here, without going past it; None where it is broken or cut."""
        try:
            return _decoder.raw_decode(self.data, self.position)[0]
        except (ValueError, RecursionError):
            return None

    def first_of_list(self) -> Any:
        """The first value of the list that starts here; None where it is broken or cut."""
        self.fill()
        self.peek_after("[")
        here = self.position
        self.position += 1
        self.peek()
        value = self.peek_value()
        self.position = here
        return value

    def between_elements(self) -> str:
        """What stands between two objects of an array, up to the second one's first key."""
        self.fill()
        found = _NEXT_KEY.match(self.data, self.position)
        return "}" + found.group() if found else ""

    def broken(self, reason: str) -> EndOfReading:
        """The error that names this place of the document."""
        cut = "the file may be cut off" if not self.peek() else "what follows is not read"
        return EndOfReading(
            ReadProblem(
                self._name,
                self.line,
                f"it is no JSON: {reason} ({cut})",
                "Mend the document there, or write one object a line.",
            )
        )
