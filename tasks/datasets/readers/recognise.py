"""Recognise what a file is: from its bytes, its name second."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.datasets.readers.encoding import encoding_of_head
from tasks.errors import DatasetError

FormatName = Literal["jsonl", "json", "csv", "parquet", "arrow", "text"]

SNIFFED_BYTES = 256 * 1024
_LONGEST_FIRST_LINE = 16 * 1024 * 1024
_DELIMITERS = (",", "\t", ";", "|")
_TABLES = (".csv", ".tsv", ".tab", ".psv")
_PROSE = (".txt", ".text", ".md")
_ARROW_MAGICS = (b"ARROW1", b"\xff\xff\xff\xff")
_NO_DATA = {
    b"%PDF": "a PDF document",
    b"\x80\x04\x95": "a Python pickle, which is never opened: it can run code",
    b"\x80\x05\x95": "a Python pickle, which is never opened: it can run code",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"SQLite format 3": "an SQLite database",
    b"FEA1": "a Feather file of version 1",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "a bzip2 file",
    b"Rar!": "a RAR archive",
}


@dataclass(frozen=True)
class Format:
    """What a file is. ``delimiter`` is for CSV; ``encoding`` for formats of text."""

    name: FormatName
    delimiter: str | None = None
    encoding: str = "utf-8"


def recognise_format(path: Path) -> Format:
    """Recognise the file at ``path``, not compressed. Raises DatasetError where it is no data."""
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
        if b"\n" not in head:
            head += file.readline(_LONGEST_FIRST_LINE)
    if head.startswith(b"PAR1"):
        return Format("parquet")
    if head.startswith(_ARROW_MAGICS):
        return Format("arrow")
    _refuse_what_is_no_data(head, path)
    encoding = encoding_of_head(head)
    if encoding is None:
        raise DatasetError(
            f"The data set {path.name!r} is a binary file of no known format.",
            "Save it as CSV, JSON lines or Parquet.",
        )
    text = head.decode(encoding, "replace")
    if not text.strip("\ufeff \t\r\n"):
        raise DatasetError(f"The data set {path.name!r} is empty.")
    suffix = path.suffix.lower()
    structured = _json_kind(text, suffix)
    if structured is not None:
        return Format(structured, encoding=encoding)
    if suffix in _PROSE:
        return Format("text", encoding=encoding)
    delimiter = recognise_delimiter(text)
    if delimiter is None and suffix not in _TABLES:
        return Format("text", encoding=encoding)
    return Format("csv", delimiter=delimiter or ",", encoding=encoding)


def _refuse_what_is_no_data(head: bytes, path: Path) -> None:
    what = next((name for magic, name in _NO_DATA.items() if head.startswith(magic)), None)
    if head[257:262] == b"ustar":
        what = "a tar archive"
    if what is not None:
        raise DatasetError(
            f"The data set {path.name!r} is {what}.", "Save it as CSV, JSON lines or Parquet."
        )


def _json_kind(text: str, suffix: str) -> Literal["json", "jsonl"] | None:
    start = text.lstrip("\ufeff \t\r\n")
    if start[0] == "[" and suffix not in (*_TABLES, *_PROSE):
        return "json"
    if start[0] != "{":
        return "jsonl" if suffix in (".jsonl", ".ndjson") else "json" if suffix == ".json" else None
    first, newline, rest = start.partition("\n")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        # A pretty-printed object, or a broken first line that the reader will name.
        return "json" if suffix == ".json" or first.strip() == "{" else "jsonl"
    return "jsonl" if newline and rest.strip() else "json"


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
