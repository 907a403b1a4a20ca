"""Rows of one JSON document: an array, an object with one list inside, or objects in a row.

The text passes through a window. The array is cut into stretches of whole elements: one that
parses as an array of its own ends where an element ends, since brackets pair in one way alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from tasks.datasets.readers.encoding import NotUtf8
from tasks.datasets.readers.json.lines import BadRow, checked_row
from tasks.datasets.readers.json.numbers import JSON, has_unusual_number
from tasks.datasets.readers.json.window import WINDOW_CHARACTERS, Window
from tasks.datasets.readers.problems import EndOfReading, Problems, ReadProblem
from tasks.datasets.readers.rows import Row, Rows
from tasks.datasets.row_shapes import is_message, list_of_rows, wraps
from tasks.errors import DatasetError

ROWS_PER_BATCH = 1000
_TRIES = 4


def read_json(path: Path, name: str, problems: Problems, *, damaged: bool) -> Iterator[Rows]:
    """Yield the rows of a JSON document; see :func:`json_lines.read_jsonl`."""
    errors = "surrogateescape" if damaged else "strict"
    with path.open("rb") as file:
        window = Window(file, name, errors)
        try:
            first = window.peek()
            if first not in ("[", "{"):
                raise window.broken("it is neither an array nor an object")
            if first == "[":
                yield from _array(window, problems, name)
            else:
                yield from _objects(window, problems, name, _rows_of_small(path))
            if window.peek():
                raise window.broken("there is more after the end of the JSON document")
        except UnicodeDecodeError as error:
            raise NotUtf8 from error


def _rows_of_small(path: Path) -> list[str] | None:
    """The lists of rows that a small document is wrapped around; None for a large or broken one.

    What stands behind a list tells as much as what stands before it.
    """
    if path.stat().st_size > WINDOW_CHARACTERS:
        return None
    try:
        value = orjson.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return None
    return list_of_rows(value) if isinstance(value, dict) else []


def _objects(
    window: Window, problems: Problems, name: str, lists_of_rows: list[str] | None
) -> Iterator[Rows]:
    """The top-level object's own list of rows; else it, and any after it, are rows themselves.

    ``lists_of_rows`` names such lists where they are known before.
    """
    rows: list[Row] = []
    lines: list[int] = []
    try:
        while window.peek() == "{":
            line = window.line
            row: Row = {}
            lists: list[str] = []
            for key in _keys(window):
                if not _wraps_rows(window, row, key, lists_of_rows):
                    row[key] = window.value()
                    continue
                lists.append(key)
                _refuse_several(window, name, lists, after_rows=bool(rows))
                yield from _array(window, problems, name)
            if lists:
                return
            try:
                rows.append(checked_row(row))
                lines.append(line)
            except BadRow as bad:
                problems.add(ReadProblem(name, line, bad.sentence, bad.mend))
            if len(rows) == ROWS_PER_BATCH:
                yield Rows(rows, lines)
                rows, lines = [], []
    except EndOfReading:
        yield Rows(rows, lines)
        raise
    yield Rows(rows, lines)


def _refuse_several(window: Window, name: str, lists: list[str], *, after_rows: bool) -> None:
    if len(lists) > 1:
        raise DatasetError(
            f"The data set {name!r} is one JSON object with several lists of rows: {lists}.",
            "Put the rows into one array, or one object a line.",
        )
    if after_rows:
        raise window.broken("a list of rows stands in an object after other rows")


def _keys(window: Window) -> Iterator[str]:
    """The keys of the object that starts here; the caller reads each value."""
    window.expect("{")
    if window.peek() == "}":
        window.expect("}")
        return
    while True:
        key = window.value() if window.peek() == '"' else None
        if key is None:
            raise window.broken("a key in quotes is missing")
        window.expect(":")
        yield key
        if window.peek() == "}":
            break
        window.expect(",")
    window.expect("}")


def _wraps_rows(window: Window, before: Row, key: str, lists_of_rows: list[str] | None) -> bool:
    if lists_of_rows is not None:
        return key in lists_of_rows
    if window.peek() != "[" or window.peek_after("[") != "{":
        return False
    return wraps(before, key, window.first_of_list())


def _array(window: Window, problems: Problems, name: str) -> Iterator[Rows]:
    line = window.line
    window.expect("[")
    if window.peek() == "]":
        window.expect("]")
        return
    if window.peek() == "{" and is_message(window.peek_value()):
        yield Rows([{"messages": _rest_of_list(window)}], [line])
        return
    number = 0
    between = ""
    tried_in = -1
    while True:
        if between and window.fills != tried_in:
            stretch = _stretch(window, between)
            if stretch is None:
                tried_in = window.fills
            else:
                number += len(stretch)
                yield Rows(stretch)
        line = window.line
        number += 1
        try:
            yield Rows([checked_row(window.value())], [line])
        except BadRow as bad:
            problems.add(ReadProblem(name, line, bad.sentence, bad.mend, row=number))
        if window.peek() == "]":
            break
        between = window.between_elements()
        window.expect(",")
        window.peek()
    window.expect("]")


def _rest_of_list(window: Window) -> list[Any]:
    """The values of a list that is open already, which is one conversation."""
    values = [window.value()]
    while window.peek() == ",":
        window.expect(",")
        values.append(window.value())
    window.expect("]")
    return values


def _stretch(window: Window, between: str) -> list[Row] | None:
    """The elements from here up to the last place in the window that looks like ``between``.

    None where that cannot be told quickly: the caller goes through this window by element.
    """
    window.fill()
    data, end = window.data, len(window.data)
    for _ in range(_TRIES):
        end = data.rfind(between, window.position, end)
        if end < 0:
            return None
        text = "[" + data[window.position : end + 1] + "]"
        try:
            rows: list[Any] = orjson.loads(text)
        except (orjson.JSONDecodeError, TypeError):
            continue
        if set(map(type, rows)) != {dict}:
            return None
        window.advance(end + between.index("{"))
        return JSON.decode(text) if has_unusual_number(text.encode()) else rows
    return None
