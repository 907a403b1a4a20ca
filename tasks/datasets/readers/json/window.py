"""A window over the text of a large JSON document, which moves along as values are read."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from tasks.datasets.readers.json.numbers import STRICT_JSON
from tasks.datasets.readers.problems import EndOfReading, ReadProblem

WINDOW_CHARACTERS = 4 * 1024 * 1024
LONGEST_VALUE = 256 * 1024 * 1024
_SPACE = re.compile(r"[ \t\r\n]*")


class Window:
    """The text in memory, and the position in it up to which it was read.

    What reads raises EndOfReading where the document is broken.
    """

    def __init__(self, file: BinaryIO, name: str, errors: str) -> None:
        self._data = ""
        self._position = 0
        self._file = file
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors)
        self._ended = False
        self._line = 1
        self._counted = 0
        self._dropped = 0

    @property
    def line(self) -> int:
        """Line of the document, from 1, that was read up to."""
        self._line += self._data.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._line

    @property
    def characters(self) -> int:
        """Characters of the document that were read up to here."""
        return self._dropped + self._position

    def _more(self, size: int) -> None:
        _ = self.line
        self._dropped += self._position
        block = self._file.read(size)
        self._ended = not block
        self._data = self._data[self._position :] + self._decoder.decode(block, final=self._ended)
        self._position = self._counted = 0

    def peek(self) -> str:
        """The next character that is no space; the empty string at the end."""
        while (here := self._data[self._position : self._position + 1]) <= " ":
            found = _SPACE.match(self._data, self._position)
            assert found is not None
            self._position = found.end()
            if self._position < len(self._data) or self._ended:
                return self._data[self._position : self._position + 1]
            self._more(WINDOW_CHARACTERS)
        return here

    def _expect(self, character: str) -> None:
        if self.peek() != character:
            raise self.broken(f"{character!r} is missing")
        self._position += 1

    def _inside(self, opening: str, closing: str) -> Iterator[None]:
        """Stops at each member of the list or object that starts here; the caller reads it."""
        self._expect(opening)
        if self.peek() != closing:
            yield
            while self.peek() != closing:
                self._expect(",")
                yield
        self._expect(closing)

    def members(self) -> Iterator[str]:
        """The keys of the object that starts here; the caller reads each value."""
        for _ in self._inside("{", "}"):
            if self.peek() != '"':
                raise self.broken("a key in quotes is missing")
            key = self.value()
            self._expect(":")
            yield key

    def elements(self) -> Iterator[tuple[int, Any]]:
        """The values of the list that starts here, each with its line."""
        for _ in self._inside("[", "]"):
            self.peek()
            line = self.line
            yield line, self.value()

    def value(self) -> Any:
        """Read the JSON value that starts here."""
        self.peek()
        size = WINDOW_CHARACTERS
        while True:
            try:
                value, end = STRICT_JSON.raw_decode(self._data, self._position)
            except json.JSONDecodeError as error:
                at_the_end = error.pos >= len(self._data) - 8 or "Unterminated" in error.msg
                if self._ended or not at_the_end or size > LONGEST_VALUE:
                    # An unterminated string is told by its start, which is the place to show.
                    self._position = min(error.pos, len(self._data))
                    raise self.broken(error.msg) from error
            except RecursionError:
                raise self.broken("a value is nested too deeply") from None
            except ValueError as error:
                raise self.broken(str(error)) from error
            else:
                # A number may go on where the window ends: 1 may be 1.5, or 1e-5.
                if end + 2 < len(self._data) or self._ended or isinstance(value, dict | list | str):
                    self._position = end
                    return value
            self._more(size)
            size *= 2

    def broken(self, reason: str) -> EndOfReading:
        """The error that names this place of the document."""
        cut = "the file may be cut off"
        if self.peek():
            cut = f"what follows, up to line {self._last_line()}, cannot be read"
        return EndOfReading(
            ReadProblem(
                self._name,
                self.line,
                f"it is no JSON: {reason} ({cut})",
                "Mend the document there, or write one object a line.",
            )
        )

    def _last_line(self) -> int:
        last, before, text = self.line, "", self._data[self._position :]
        while text:
            last += text.count("\n")
            before, text = text, self._decoder.decode(self._file.read(WINDOW_CHARACTERS))
        return last - before.endswith("\n")
