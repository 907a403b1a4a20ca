"""Rows of JSON lines, and of one JSON document, in bounded memory.

Whole blocks are parsed by orjson; where it refuses one, the standard library goes through it row
by row and names what is wrong. What orjson would take but change, integers beyond 64 bits, goes
that way too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy
import orjson

from tasks.datasets.readers.encoding import NotUtf8
from tasks.datasets.readers.problems import Problems, ReadProblem
from tasks.datasets.readers.rows import Row, Rows
from tasks.datasets.row_shapes import is_conversation
from trainyard.contract.error_tree import TrainyardError

BLOCK_BYTES = 4 * 1024 * 1024
_DIGITS_OF_64_BITS = 19
_WHOLE_ROW = "Each line must hold one complete JSON object; check whether it was cut off."


class BadRow(TrainyardError):
    """Why one row cannot be used, and what to do; the caller adds its place."""


def read_jsonl(path: Path, name: str, problems: Problems, *, damaged: bool) -> Iterator[Rows]:
    """Yield the rows of JSON lines. ``damaged``: bytes that are no UTF-8 are problems of a row.

    Raises NotUtf8 for them otherwise.
    """
    line = 0
    with path.open("rb") as file:
        skip_mark(file)
        while block := file.read(BLOCK_BYTES):
            block += file.readline()
            lines = block.removesuffix(b"\n").split(b"\n")
            rows = _parsed(lines, block)
            numbers: range | list[int] = range(line + 1, line + 1 + len(lines))
            if rows is None:
                rows, numbers = _one_by_one(lines, line, name, problems, damaged)
            line += len(lines)
            yield Rows(rows, numbers)


def skip_mark(file: Any) -> None:
    """Go past a UTF-8 byte order mark at the start of a binary file."""
    if file.read(3) != b"\xef\xbb\xbf":
        file.seek(0)


def _parsed(lines: list[bytes], block: bytes) -> list[Row] | None:
    """The rows, or None where one of them needs a closer look."""
    if has_long_number(block):
        return None
    try:
        rows = list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        return None
    return rows if set(map(type, rows)) == {dict} else None


def has_long_number(block: bytes) -> bool:
    """Whether ``block`` may hold an integer beyond 64 bits: 19 digits in a row, or more.

    Such a run covers two neighbours among every eighth byte, which are looked at alone first.
    """
    characters = numpy.frombuffer(block, numpy.uint8)
    digits = characters[::8] - ord("0") < 10
    for index in numpy.flatnonzero(digits[:-1] & digits[1:]):
        around = block[max(int(index) * 8 - 24, 0) : int(index) * 8 + 32]
        length = 0
        for character in around:
            length = length + 1 if 48 <= character <= 57 else 0
            if length >= _DIGITS_OF_64_BITS:
                return True
    return False


def _one_by_one(
    lines: list[bytes], before: int, name: str, problems: Problems, damaged: bool
) -> tuple[list[Row], list[int]]:
    rows: list[Row] = []
    numbers: list[int] = []
    for number, line in enumerate(lines, start=before + 1):
        if not line.strip(b" \t\r\n"):
            continue
        try:
            rows.append(_row_of(line, damaged))
            numbers.append(number)
        except BadRow as bad:
            problems.add(ReadProblem(name, number, bad.sentence, bad.mend))
    return rows, numbers


def _row_of(line: bytes, damaged: bool) -> Row:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        if not damaged:
            raise NotUtf8 from error
        raise BadRow("it holds bytes that are no UTF-8", "Save the file as UTF-8.") from error
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise BadRow(f"it is no JSON: {error}", _WHOLE_ROW) from error
    except RecursionError as error:
        raise BadRow("it is nested too deeply", "Flatten it.") from error
    return checked_row(value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def checked_row(value: Any) -> Row:
    """``value`` where it is a row that can be kept, or a bare conversation. Raises BadRow."""
    if is_conversation(value):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise BadRow(
            f"it holds {type(value).__name__} where an object with columns is needed",
            'Write each row as {"column": value, ...}.',
        )
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRow(
            "it holds half of a character (a lone surrogate)", "Write the text as UTF-8."
        ) from error
    return value
