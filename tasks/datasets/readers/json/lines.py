"""Rows of JSON lines, in bounded memory; what is wrong with a line is told with its number.

The decoder is the standard library's: orjson is faster, but changes the spelling of numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.datasets.readers.columns import json_of
from tasks.datasets.readers.encoding import NotUtf8
from tasks.datasets.readers.json.numbers import STRICT_JSON
from tasks.datasets.readers.problems import NO_UTF_8, Fault, Problems
from tasks.datasets.readers.rows import Found, Rows, in_batches
from tasks.datasets.row_shapes import is_conversation

_OBJECT = 'Write each row as {"column": value, ...}.'
_HALF = "it holds half of a character (a lone surrogate)"
_WHOLE_ROW = "Each line must hold one complete JSON object; check whether it was cut off."


def read_jsonl(path: Path, name: str, problems: Problems, *, damaged: bool) -> Iterator[Rows]:
    """Yield the rows of JSON lines. ``damaged``: bytes that are no UTF-8 are problems of a row.

    Raises NotUtf8 for them otherwise.
    """
    with path.open("rb") as file:
        skip_mark(file)
        lines = enumerate((line.removesuffix(b"\n") for line in file), start=1)
        found = (as_row(n, _value_of(line, damaged)) for n, line in lines if line.strip(b" \t\r"))
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
        return NO_UTF_8
    except ValueError as error:
        return Fault(f"it is no JSON: {error}", _WHOLE_ROW)
    except RecursionError:
        return Fault("it is nested too deeply", "Flatten it.")


def as_row(line: int, value: Any) -> Found:
    """A value as the row that can be kept, which may be a bare conversation."""
    if isinstance(value, Fault):
        return line, value, 0
    if is_conversation(value):
        value = {"messages": value}
    if not isinstance(value, dict):
        kind = type(value).__name__
        return line, Fault(f"it holds {kind} where an object with columns is needed", _OBJECT), 0
    try:
        text = json_of(value)
        return line, value, len(text.encode() if isinstance(text, str) else text)
    except UnicodeEncodeError:
        return line, Fault(_HALF, "Write the text as UTF-8."), 0
