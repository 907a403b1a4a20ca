"""Rows of JSON lines, and of one JSON document, in bounded memory.

Whole blocks are parsed by orjson; where it refuses one, the standard library goes through it row
by row and names what is wrong. What orjson would take but change is parsed once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import orjson

from tasks.datasets.readers.encoding import NotUtf8
from tasks.datasets.readers.json.numbers import JSON, as_spelled, has_unusual_number
from tasks.datasets.readers.problems import Problems, ReadProblem
from tasks.datasets.readers.rows import Row, Rows
from tasks.datasets.row_shapes import is_conversation
from trainyard.contract.error_tree import TrainyardError

BLOCK_BYTES = 4 * 1024 * 1024
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
    try:
        rows = list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        return None
    if set(map(type, rows)) != {dict}:
        return None
    return [JSON.decode(line.decode()) for line in lines] if has_unusual_number(block) else rows


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
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=as_spelled)
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
