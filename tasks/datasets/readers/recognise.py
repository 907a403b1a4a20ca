"""Recognise what a file is: from its bytes, its name second."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

from tasks.datasets.formats import magic_bytes
from tasks.datasets.formats.table import FormatName, format_of_magic, format_of_suffix
from tasks.datasets.readers.encoding import encoding_of_head
from tasks.datasets.row_shapes import ROW_KEYS
from tasks.errors import DatasetError

SNIFFED_BYTES = 256 * 1024
_LONGEST_FIRST_LINE = 16 * 1024 * 1024
_DELIMITERS = (",", "\t", ";", "|")
_SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=(.)"?\r?\n', re.IGNORECASE)
"""Excel's own first line, which tells the delimiter."""
_SURELY_JSON = re.compile(
    r'\{\s*"(?:[^"\\]|\\.)*"\s*:|\[\s*\[?\s*\{\s*"|\[\s*"(?:[^"\\]|\\.)*"\s*,\s*"'
)


@dataclass(frozen=True)
class Format:
    """What a file is. ``delimiter`` is for CSV; ``encoding`` for formats of text."""

    name: FormatName
    delimiter: str | None = None
    encoding: str = "utf-8"


def recognise_format(path: Path, name: str | None = None) -> Format:
    """Recognise the file at ``path``, not compressed; ``name`` is what people call it.

    Raises DatasetError where it is no data.
    """
    name = name or path.name
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
        if b"\n" not in head:
            head += file.readline(_LONGEST_FIRST_LINE)
    if not head:
        raise DatasetError(f"The data set {name!r} is empty.")
    magic_bytes.refuse_what_is_no_data(head[: magic_bytes.HEAD_BYTES], path, name)
    binary = format_of_magic(head)
    if binary is not None:
        return Format(binary)
    encoding = encoding_of_head(head)
    if encoding is None:
        raise DatasetError(
            f"The data set {name!r} is a binary file of no known format.",
            f"Save it as {magic_bytes.READABLE}.",
        )
    text = head.decode(encoding, "replace")
    if not text.strip("\ufeff \t\r\n"):
        raise DatasetError(f"The data set {name!r} is empty.")
    return _format_of_text(text, path.suffix.lower(), encoding)


def _format_of_text(text: str, suffix: str, encoding: str) -> Format:
    named = format_of_suffix(suffix)
    structured = _json_kind(text, named)
    if structured is not None:
        return Format(structured, encoding=encoding)
    told = _SEPARATOR_LINE.match(text)
    if told:
        return Format("csv", delimiter=told.group(1), encoding=encoding)
    delimiter = recognise_delimiter(text)
    if named == "text" and not _is_table(text, delimiter, encoding):
        return Format("text", encoding=encoding)
    if named != "csv" and (delimiter is None or "\n" not in text.strip()):
        return Format("text", encoding=encoding)
    return Format("csv", delimiter=delimiter or ",", encoding=encoding)


def _json_kind(text: str, named: FormatName | None) -> FormatName | None:
    start = text.lstrip("\ufeff \t\r\n")
    if start[0] not in "[{":
        return named if named in ("json", "jsonl") else None
    if named not in ("json", "jsonl") and not _SURELY_JSON.match(start) and not _is_json(start):
        return None  # as "[Verse 1]" and "{name} said" begin
    first, newline, rest = start.partition("\n")
    if not _is_json(first):
        # A pretty-printed document, or a broken first line that the reader will name.
        pretty = start[0] == "[" or named == "json" or first.strip() == "{"
        return "json" if pretty else "jsonl"
    more = rest.strip()
    return "jsonl" if newline and more and (start[0] == "{" or more[0] == "[") else "json"


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _is_table(text: str, delimiter: str | None, encoding: str) -> bool:
    """Whether a file named as prose is a table all the same.

    Excel's "Unicode Text" is UTF-16 with tabs; else the header must name columns that are known.
    """
    if delimiter is None:
        return False
    if encoding.startswith("utf-16") and delimiter == "\t":
        return True
    header = text.lstrip("\ufeff \t\r\n").partition("\n")[0].strip().lower().split(delimiter)
    return len({cell.strip(' "') for cell in header} & ROW_KEYS) > 1


def recognise_delimiter(text: str) -> str | None:
    """The delimiter under which the first records have the same number (>1) of fields."""
    lines = text.splitlines(keepends=True)
    sample = "".join(lines[:200] if len(text) < SNIFFED_BYTES else lines[:200][:-1] or lines)
    best: tuple[int, str] | None = None
    for delimiter in _DELIMITERS:
        try:
            rows = [row for row in csv.reader(io.StringIO(sample), delimiter=delimiter) if row]
        except csv.Error:
            continue
        if not rows or len(rows[0]) < 2:
            continue
        agreeing = sum(len(row) == len(rows[0]) for row in rows)
        # A header that most rows agree with; a ragged row is for the reader to name.
        if agreeing * 2 > len(rows) and (best is None or len(rows[0]) > best[0]):
            best = (len(rows[0]), delimiter)
    return best[1] if best else None
