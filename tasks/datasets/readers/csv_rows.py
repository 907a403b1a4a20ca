"""Rows of CSV, every value as the text that stands there.

Arrow reads a file whose quotes are in order; it takes garbage after a closing quote silently, and
with it an unbalanced quote, so the quotes are looked at first (:mod:`csv_lines`). The strict
reader of the standard library goes through any other file and names the rows that are wrong.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import pyarrow
import pyarrow.csv

from tasks.datasets.readers.csv_quotes import lines_of_records
from tasks.datasets.readers.encoding import NotUtf8
from tasks.datasets.readers.problems import Problems, ReadProblem
from tasks.datasets.readers.rows import Batch, Row, Rows
from tasks.errors import DatasetError
from trainyard.contract.error_tree import Interruption

ROWS_PER_BATCH = 1000
BLOCK_BYTES = 2 * 1024 * 1024
_LONGEST_FIELD = 256 * 1024 * 1024
_HINT = "Quote fields that hold a delimiter or a line break, and close every quote."

csv.field_size_limit(_LONGEST_FIELD)


class NotPlain(Interruption):
    """The file needs the strict reader."""


_Record: TypeAlias = tuple[int, list[str]]


def read_plain_csv(path: Path, name: str, delimiter: str) -> Iterator[Batch]:
    """Yield batches of text columns. Raises NotPlain where the strict reader must look."""
    lines = lines_of_records(path, delimiter)
    if lines is None:
        raise NotPlain
    header = _header_of(path, name, delimiter)
    if header is None:
        raise NotPlain
    text = dict.fromkeys(header, pyarrow.string())
    try:
        with pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=text, strings_can_be_null=False, quoted_strings_can_be_null=False
            ),
        ) as batches:
            row = 0
            for batch in batches:
                yield Batch(batch, lines[row + 1 : row + 1 + len(batch)])
                row += len(batch)
            if row + 1 != len(lines):
                raise NotPlain
    except pyarrow.ArrowInvalid as error:
        raise NotPlain from error


def _header_of(path: Path, name: str, delimiter: str) -> list[str] | None:
    """The columns; None where the strict reader must say what is wrong with them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = next(csv.reader(file, delimiter=delimiter, strict=True), None)
    except (csv.Error, UnicodeDecodeError):
        return None
    # Arrow takes types by the name that stands in the file.
    return cells if cells and cells == _header(cells, name) else None


def read_strict_csv(
    path: Path, name: str, delimiter: str, problems: Problems, *, damaged: bool
) -> Iterator[Rows]:
    """Yield the rows; what is wrong with others goes to ``problems``. Raises NotUtf8."""
    errors = "surrogateescape" if damaged else "strict"
    try:
        with path.open(encoding="utf-8-sig", errors=errors, newline="") as file:
            records = _records(file, name, delimiter, problems)
            _, cells = next(records, (0, []))
            header = _header(cells, name)
            while batch := list(itertools.islice(records, ROWS_PER_BATCH)):
                yield _checked(batch, header, name, problems)
    except UnicodeDecodeError as error:
        raise NotUtf8 from error


def _records(
    file: Iterator[str], name: str, delimiter: str, problems: Problems
) -> Iterator[_Record]:
    """Records with the line that each starts in. After a broken one reading goes on behind it."""
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise DatasetError(
                    f"A quote that opens in the row at line {line} of {name!r} is never closed.",
                    _HINT,
                ) from error
            upto = f" (up to line {reader.line_num})" if reader.line_num > line else ""
            reason = f"it is no CSV with the delimiter {delimiter!r}: {error}{upto}"
            problems.add(ReadProblem(name, line, reason, _HINT))
            continue
        if record is None:
            return
        if record:
            yield line, record


def _checked(
    records: Sequence[_Record], header: Sequence[str], name: str, problems: Problems
) -> Rows:
    rows: list[Row] = []
    lines: list[int] = []
    for line, record in records:
        if len(record) == len(header):
            if _is_text(record):
                rows.append(dict(zip(header, record, strict=True)))
                lines.append(line)
            else:
                reason = "it holds bytes that are no UTF-8"
                problems.add(ReadProblem(name, line, reason, "Save the file as UTF-8."))
        elif len(record) > 1 or record[0].strip():
            reason = f"it has {len(record)} fields where the header has {len(header)}"
            problems.add(ReadProblem(name, line, reason, _HINT))
    return Rows(rows, lines)


def _is_text(record: Sequence[str]) -> bool:
    try:
        "".join(record).encode()
    except UnicodeEncodeError:  # what was read with surrogateescape
        return False
    return True


def _header(cells: Sequence[str], name: str) -> list[str]:
    """The columns' names. Raises DatasetError where one stands there twice."""
    names = [cell.strip() for cell in cells]
    repeated = sorted({cell for cell in names if names.count(cell) > 1})
    if repeated:
        raise DatasetError(
            f"The header of {name!r} names a column more than once: {', '.join(repeated)}.",
            "Give every column a name of its own.",
        )
    return names
