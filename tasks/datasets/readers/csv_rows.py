"""Rows of CSV, every value as the text that stands there.

Arrow reads a file whose quotes are in order; it takes garbage after a closing quote silently, and
with it an unbalanced quote, so the quotes are looked at first (:mod:`csv_quotes`). The strict
reader of the standard library goes through any other file and names the rows that are wrong.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TypeAlias

import pyarrow
import pyarrow.compute
import pyarrow.csv

from tasks.datasets.readers.columns import check_columns
from tasks.datasets.readers.csv_quotes import lines_of_records
from tasks.datasets.readers.encoding import NotUtf8
from tasks.datasets.readers.problems import (
    EndOfReading,
    Fault,
    Problems,
    ReadProblem,
    fault_of_text,
)
from tasks.datasets.readers.rows import Batch, Found, Rows, in_batches
from tasks.errors import DatasetError
from trainyard.contract.error_tree import Interruption

BLOCK_BYTES = 2 * 1024 * 1024
_LONGEST_FIELD = 256 * 1024 * 1024
_HINT = "Quote fields that hold a delimiter or a line break, and close every quote."
_CLOSE = "Close the quote there; one within a quoted field is written twice."

_SEPARATOR_LINE = "sep="

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
                if _may_repeat(header, batch):
                    raise NotPlain
                yield Batch(batch, lines[row + 1 : row + 1 + len(batch)])
                row += len(batch)
            if row + 1 != len(lines):
                raise NotPlain
    except pyarrow.ArrowInvalid as error:
        raise NotPlain from error


def _may_repeat(header: Sequence[str], batch: pyarrow.RecordBatch) -> bool:
    return bool(pyarrow.compute.any(pyarrow.compute.equal(batch.column(0), header[0])).as_py())


def _header_of(path: Path, name: str, delimiter: str) -> list[str] | None:
    """The columns; None where the strict reader must say what is wrong with them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = next(csv.reader(file, delimiter=delimiter, strict=True), None)
    except (csv.Error, UnicodeDecodeError):
        return None
    if not cells or cells[0].lower().startswith(_SEPARATOR_LINE):
        return None
    # Arrow takes types by the name that stands in the file.
    return cells if cells == _header(cells, name) else None


def read_strict_csv(
    path: Path, name: str, delimiter: str, problems: Problems, *, damaged: bool
) -> Iterator[Rows]:
    """Yield the rows; what is wrong with others goes to ``problems``. Raises NotUtf8."""
    errors = "surrogateescape" if damaged else "strict"
    try:
        with path.open(encoding="utf-8-sig", errors=errors, newline="") as file:
            records = _records(file, name, delimiter, problems)
            table = _Table(name, _first_cells(records))
            yield from in_batches(table.rows(records), name, problems)
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
            last = reader.line_num
            if "unexpected end" in str(error):
                lines = f", so that lines {line} to {last} are one value" if last > line else ""
                reason = f"a quote that opens in this row is never closed{lines}"
                raise EndOfReading(ReadProblem(name, line, reason, _CLOSE)) from error
            upto = f" (up to line {last}: each is counted as a row)" if last > line else ""
            reason = f"it is no CSV with the delimiter {delimiter!r}: {error}{upto}"
            problems.add(ReadProblem(name, line, reason, _HINT), last - line + 1)
            continue
        if record is None:
            return
        if record:
            yield line, record


def _first_cells(records: Iterator[_Record]) -> list[str]:
    """The header: not the line that tells Excel the delimiter, nor the empty cells before it."""
    for line, cells in records:
        told = line == 1 and cells[0].lower().startswith(_SEPARATOR_LINE)
        if not told and any(cell.strip() for cell in cells):
            return cells
    return []


class _Table:
    """Records under a header, as rows."""

    def __init__(self, name: str, cells: Sequence[str]) -> None:
        self._header = _header(cells, name)
        self._unnamed = len(cells) - len(self._header)

    def rows(self, records: Iterable[_Record]) -> Iterator[Found]:
        for line, record in records:
            fault = self._fault(record)
            if fault is not None:
                yield line, fault, 0
            elif len(self._header) == 1 or len(record) > 1 or record[0].strip():
                cells = record[: len(self._header)]
                row = dict(zip_longest(self._header, cells, fillvalue=""))
                yield line, row, sum(map(len, cells))

    def _fault(self, record: list[str]) -> Fault | None:
        count, wanted = len(record), len(self._header)
        if not any(cell.strip() for cell in record):
            return None  # a blank row of a table, of however many cells
        if self._unnamed and wanted < count <= wanted + self._unnamed:
            if any(cell.strip() for cell in record[wanted:]):
                return Fault("it has a value in a column without a name", "Name the column.")
        elif count != wanted:
            fields = "1 field" if count == 1 else f"{count} fields"
            return Fault(f"it has {fields} where the header has {wanted}", _HINT)
        if [cell.strip() for cell in record[:wanted]] == self._header:
            fix = "Remove the line; was one file put behind another?"
            return Fault("it repeats the header", fix)
        return fault_of_text("".join(record))


def _header(cells: Sequence[str], name: str) -> list[str]:
    """The columns' names, without empty ones at the end. Raises DatasetError if one is no name."""
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    check_columns(len(names))
    fault = fault_of_text("".join(names))
    if fault is not None:
        raise DatasetError(f"The header of {name!r} is no text: {fault.reason}.", fault.fix)
    repeated = sorted(cell for cell, count in Counter(names).items() if count > 1)
    if repeated:
        raise DatasetError(
            f"The header of {name!r} has several columns without a name."
            if repeated == [""]
            else f"The header of {name!r} names a column more than once: {', '.join(repeated)}.",
            "Give every column a name of its own.",
        )
    return names
