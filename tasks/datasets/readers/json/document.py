"""Rows of one JSON document: an array, an object with one list inside, or objects in a row.

The text passes through a window, value by value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from tasks.datasets.readers.encoding import NotUtf8
from tasks.datasets.readers.json.lines import as_row
from tasks.datasets.readers.json.window import LONGEST_VALUE, WINDOW_CHARACTERS, Window
from tasks.datasets.readers.problems import Problems
from tasks.datasets.readers.rows import Row, Rows, in_batches
from tasks.datasets.row_shapes import is_message, list_of_rows, wraps
from tasks.errors import DatasetError

_Value: TypeAlias = tuple[int, Any]
"""With the line, from 1, that it starts in."""


def read_json(path: Path, name: str, problems: Problems, *, damaged: bool) -> Iterator[Rows]:
    """Yield the rows of a JSON document; see :func:`json_lines.read_jsonl`."""
    errors = "surrogateescape" if damaged else "strict"
    with path.open("rb") as file:
        values = _values(Window(file, name, errors), name, _rows_of_small(path))
        found = (as_row(line, value) for line, value in values)
        try:
            yield from in_batches(found, name, problems)
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


def _values(window: Window, name: str, lists_of_rows: list[str] | None) -> Iterator[_Value]:
    first = window.peek()
    if first not in ("[", "{"):
        raise window.broken("it is neither an array nor an object")
    yield from _array(window) if first == "[" else _objects(window, name, lists_of_rows)
    if window.peek():
        raise window.broken("there is more after the end of the JSON document")


def _array(window: Window) -> Iterator[_Value]:
    """The elements, or one row if they are the messages of a conversation."""
    elements = window.elements()
    for line, first in elements:
        if is_message(first):
            yield line, {"messages": [first, *_whole(window, elements)]}
        else:
            yield line, first
            yield from elements


def _objects(window: Window, name: str, lists_of_rows: list[str] | None) -> Iterator[_Value]:
    """The top-level object's own list of rows; else it, and any after it, are rows themselves.

    ``lists_of_rows`` names such lists where they are known before.
    """
    after_rows = False
    while window.peek() == "{":
        line = window.line
        row: Row = {}
        lists: list[str] = []
        for key in window.members():
            if window.peek() != "[" or (lists_of_rows is not None and key not in lists_of_rows):
                row[key] = window.value()
                continue
            elements = window.elements()
            first = list(islice(elements, 1))
            if lists_of_rows is None and not _wraps(row, key, first):
                row[key] = _whole(window, chain(first, elements))
                continue
            lists.append(key)
            _refuse_several(window, name, lists, after_rows=after_rows)
            yield from chain(first, elements)
        if lists:
            return
        yield line, row
        after_rows = True


def _wraps(before: Row, key: str, elements: list[_Value]) -> bool:
    return any(isinstance(first, dict) and wraps(before, key, first) for _, first in elements)


def _whole(window: Window, elements: Iterable[_Value]) -> list[Any]:
    """The values of a list that is one value, and no longer than one may be."""
    start = window.characters
    values = []
    for _, value in elements:
        values.append(value)
        if window.characters - start > LONGEST_VALUE:
            raise window.broken("a list is too long")
    return values


def _refuse_several(window: Window, name: str, lists: list[str], *, after_rows: bool) -> None:
    if len(lists) > 1:
        raise DatasetError(
            f"The data set {name!r} is one JSON object with several lists of rows: {lists}.",
            "Put the rows into one array, or one object a line.",
        )
    if after_rows:
        raise window.broken("a list of rows stands in an object after other rows")
