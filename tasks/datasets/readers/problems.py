"""Rows that cannot be read: each with its place, the reason and the fix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tasks.errors import DatasetError

PROBLEMS_KEPT = 20


@dataclass(frozen=True)
class ReadProblem:
    """One row that cannot be read. ``line`` (from 1) is where it starts in the file ``path``.

    ``row`` (from 1) is its place among the file's rows, for formats without lines; there ``line``
    is None.
    """

    path: str
    line: int | None
    reason: str
    fix: str
    row: int | None = None

    @property
    def place(self) -> str:
        """``line 7 of 'a.jsonl'``."""
        where = f"line {self.line}" if self.line is not None else f"row {self.row}"
        return f"{where} of {self.path!r}"

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class Fault(NamedTuple):
    """Why one row cannot be used, and what to do; its place is added."""

    reason: str
    fix: str


class Problems:
    """What was met while reading: the count of bad rows, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[ReadProblem] = []

    def add(self, problem: ReadProblem, lines: int = 1) -> None:
        """Count ``problem``, and keep it where it is among the first.

        ``lines``: each may have been a row, where it is not known what of them belongs together.
        """
        self.count += lines
        if len(self.first) < PROBLEMS_KEPT:
            self.first.append(problem)


NO_UTF_8 = Fault("it holds bytes that are no UTF-8", "Save the file as UTF-8.")


def fault_of_text(text: str) -> Fault | None:
    """Why a text cannot be trained on, and what to do; None for one that can.

    Bytes that are no UTF-8 were read with ``surrogateescape``.
    """
    if "\0" in text:
        fix = "Remove it; text that came from a binary file has such."
        return Fault("it holds a NUL character", fix)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return NO_UTF_8
    return None


class EndOfReading(DatasetError):
    """A fault behind which it is not known where rows begin.

    It is no bad row that can be left out: nobody could say how many are lost.
    """

    def __init__(self, problem: ReadProblem) -> None:
        place = problem.place[0].upper() + problem.place[1:]
        super().__init__(
            f"{place}: {problem.reason}.",
            f"{problem.fix} config.data.skip_bad_rows does not get past it: how many rows are lost "
            "is not known.",
        )


class UnreadableRows(DatasetError):
    """Rows of the data set cannot be read; ``problems`` holds the first, ``count`` all of them."""

    def __init__(self, problems: Sequence[ReadProblem], count: int, readable: int) -> None:
        self.problems = tuple(problems)
        self.count = count
        self.readable = readable
        first = self.problems[0]
        total = count + readable
        super().__init__(
            f"{count} of {total} rows of the data set cannot be read; the first is {first}",
            f"{first.fix} Or leave such rows out with config.data.skip_bad_rows.",
        )
