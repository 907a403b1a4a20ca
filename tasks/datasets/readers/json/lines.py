"""Rows of JSON lines, in bounded memory; what is wrong with a line is told with its number.

The decoder is the standard library's: orjson is faster, but changes the spelling of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from tasks.datasets.readers.columns import json_of
from tasks.datasets.readers.encoding import NotUtf8
from tasks.datasets.readers.json.numbers import STRICT_JSON
from tasks.datasets.readers.problems import EndOfReading, Problems, ReadProblem
from tasks.datasets.readers.rows import Row, Rows
from tasks.datasets.row_shapes import is_conversation
from trainyard.contract.error_tree import TrainyardError

BATCH_BYTES = 4 * 1024 * 1024
_WHOLE_ROW = "Each line must hold one complete JSON object; check whether it was cut off."


class BadRow(TrainyardError):
    """Why one row cannot be used, and what to do; the caller adds its place."""


Found: TypeAlias = tuple[int, Any]
"""Line (from 1), and the value that stands there or the BadRow that it is."""


def read_jsonl(path: Path, name: str, problems: Problems, *, damaged: bool) -> Iterator[Rows]:
    """Yield the rows of JSON lines. ``damaged``: bytes that are no UTF-8 are problems of a row.

    Raises NotUtf8 for them otherwise.
    """
    with path.open("rb") as file:
        skip_mark(file)
        lines = enumerate((line.removesuffix(b"\n") for line in file), start=1)
        found = ((n, _value_of(line, damaged)) for n, line in lines if line.strip(b" \t\r"))
        yield from in_batches(found, name, problems)


def skip_mark(file: Any) -> None:
    """Go past a UTF-8 byte order mark at the start of a binary file."""
    if file.read(3) != b"\xef\xbb\xbf":
        file.seek(0)


def _value_of(line: bytes, damaged: bool) -> Any:
    try:
        return STRICT_JSON.decode(line.decode())
    except UnicodeDecodeError as error:
        if not damaged:
            raise NotUtf8 from error
        return BadRow("it holds bytes that are no UTF-8", "Save the file as UTF-8.")
    except ValueError as error:
        return BadRow(f"it is no JSON: {error}", _WHOLE_ROW)
    except RecursionError:
        return BadRow("it is nested too deeply", "Flatten it.")


def in_batches(values: Iterable[Found], name: str, problems: Problems) -> Iterator[Rows]:
    """The values that are rows; what is wrong with others goes to ``problems``.

    What was found before EndOfReading is yielded before it is raised.
    """
    rows: list[Row] = []
    lines: list[int] = []
    size = 0
    try:
        for line, value in values:
            try:
                row, length = _checked_row(value)
            except BadRow as bad:
                problems.add(ReadProblem(name, line, bad.sentence, bad.mend))
                continue
            rows.append(row)
            lines.append(line)
            size += length
            if size > BATCH_BYTES:
                yield Rows(rows, lines)
                rows, lines, size = [], [], 0
    except EndOfReading:
        yield Rows(rows, lines)
        raise
    yield Rows(rows, lines)


def _checked_row(value: Any) -> tuple[Row, int]:
    """The row that can be kept, which may be a bare conversation, and its length as JSON.

    Raises BadRow.
    """
    if isinstance(value, BadRow):
        raise value
    if is_conversation(value):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise BadRow(
            f"it holds {type(value).__name__} where an object with columns is needed",
            'Write each row as {"column": value, ...}.',
        )
    try:
        text = json_of(value)
        return value, len(text.encode() if isinstance(text, str) else text)
    except UnicodeEncodeError as error:
        raise BadRow(
            "it holds half of a character (a lone surrogate)", "Write the text as UTF-8."
        ) from error
