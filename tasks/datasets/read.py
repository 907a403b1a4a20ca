"""Read the rows of a data set as dictionaries, in bounded memory, with their places.

Everything that the libraries read silently wrong is an error here that names the line: a ragged
CSV row, a broken JSON line, a repeated column. ``None``, ``NA`` and ``null`` in a CSV stay text.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas
import pyarrow
import pyarrow.parquet

from tasks.datasets.recognise import Format
from tasks.errors import DatasetError

ROWS_PER_BATCH = 1000
_CSV_HINT = "Quote fields that hold a delimiter or a line break, and close every quote."

Row: TypeAlias = dict[str, Any]
NumberedRow: TypeAlias = tuple[int, Row]
"""A row and its place in the source, counted from 1: the line in JSONL, else the row."""


def read_rows(path: Path, file_format: Format) -> Iterator[NumberedRow]:
    """Yield the rows of one file. Raises DatasetError that names the place."""
    try:
        yield from _READERS[file_format.name](path, file_format)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"The data set {path.name!r} is not {error.encoding.upper()} text (byte "
            f"{error.object[error.start]:#04x}: {error.reason}).",
            "Save it as UTF-8.",
        ) from error


def _read_jsonl(path: Path, file_format: Format) -> Iterator[NumberedRow]:
    with path.open(encoding=file_format.encoding) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip("\ufeff \t\r\n"):
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise DatasetError(
                    f"Line {number} of {path.name!r} is no JSON: {error}",
                    "Each line must hold one complete JSON object; check whether it was cut off.",
                ) from error
            yield number, _object(value, f"Line {number}", path)


def _read_json(path: Path, file_format: Format) -> Iterator[NumberedRow]:
    try:
        document = json.loads(path.read_text(encoding=file_format.encoding))
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise DatasetError(f"The data set {path.name!r} is no JSON: {error}") from error
    for number, value in enumerate(_rows_of(document, path), start=1):
        yield number, _object(value, f"Row {number}", path)


def _rows_of(document: Any, path: Path) -> list[Any]:
    """The list of rows in a JSON document: the array itself, or the one array of objects in it."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise DatasetError(f"The data set {path.name!r} holds no JSON array or object.")
    rows_in = [
        key
        for key, value in document.items()
        if isinstance(value, list)
        and value
        and all(isinstance(item, dict) for item in value)
        and key.lower() not in ("messages", "conversations", "conversation", "prompt", "completion")
    ]
    if not rows_in:
        return [document]
    if len(rows_in) > 1:
        raise DatasetError(
            f"The data set {path.name!r} is one JSON object with several lists of rows: {rows_in}.",
            "Put the rows into one array, or one object a line.",
        )
    rows: list[Any] = document[rows_in[0]]
    return rows


def _object(value: Any, place: str, path: Path) -> Row:
    if not isinstance(value, dict):
        raise DatasetError(
            f"{place} of {path.name!r} holds {type(value).__name__} where an object with columns "
            "is needed."
        )
    return value


def _read_csv(path: Path, file_format: Format) -> Iterator[NumberedRow]:
    # header=None keeps pandas from taking a longer first row's columns for an index, and makes a
    # row with more fields than the first an error.
    try:
        frames = pandas.read_csv(
            path,
            sep=file_format.delimiter,
            header=None,
            dtype=str,
            na_filter=False,
            encoding=file_format.encoding,
            chunksize=ROWS_PER_BATCH,
        )
        with frames:
            records = itertools.chain.from_iterable(
                frame.to_numpy(dtype=object).tolist() for frame in frames
            )
            yield from _csv_rows(records, path, file_format)
    except pandas.errors.EmptyDataError as error:
        raise DatasetError(f"The data set {path.name!r} is empty.") from error
    except pandas.errors.ParserError as error:
        raise DatasetError(
            f"The data set {path.name!r} cannot be read as CSV with the delimiter "
            f"{file_format.delimiter!r}: {error}",
            _CSV_HINT,
        ) from error


def _csv_rows(
    records: Iterator[Sequence[str]], path: Path, file_format: Format
) -> Iterator[NumberedRow]:
    header = _header(next(records), path)
    lengths_known = False
    for number, record in enumerate(records, start=2):
        if record[-1] == "" and not lengths_known:
            # pandas fills a short row up with empty fields, as it gives truly empty ones.
            _refuse_short_rows(path, file_format, len(header))
            lengths_known = True
        yield number, dict(zip(header, record, strict=True))


def _refuse_short_rows(path: Path, file_format: Format, width: int) -> None:
    with path.open(encoding=file_format.encoding, newline="") as file:
        reader = csv.reader(file, delimiter=file_format.delimiter or ",")
        for record in reader:
            if record and len(record) < width:
                raise DatasetError(
                    f"The row that ends in line {reader.line_num} of {path.name!r} has "
                    f"{len(record)} fields where the header has {width}.",
                    _CSV_HINT,
                )


def _header(cells: Sequence[str], path: Path) -> list[str]:
    names = [cell.strip().removeprefix("\ufeff") for cell in cells]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DatasetError(
            f"The header of {path.name!r} names a column more than once: {', '.join(repeated)}."
        )
    return names


def _read_parquet(path: Path, _: Format) -> Iterator[NumberedRow]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pyarrow.ArrowInvalid as error:
        raise DatasetError(
            f"The data set {path.name!r} is damaged Parquet: {error}", "Write or copy it again."
        ) from error


def _read_text(path: Path, file_format: Format) -> Iterator[NumberedRow]:
    """Rows of one column ``text``: paragraphs, or lines where no blank line parts any."""
    with path.open(encoding=file_format.encoding) as lines:
        by_paragraph = any(not line.strip() for line in lines)
    with path.open(encoding=file_format.encoding) as lines:
        paragraph: list[str] = []
        start = 1
        for number, line in enumerate(lines, start=1):
            if line.strip():
                start = start if paragraph else number
                paragraph.append(line)
            if paragraph and (not line.strip() or not by_paragraph):
                yield start, {"text": "".join(paragraph).rstrip("\n")}
                paragraph = []
        if paragraph:
            yield start, {"text": "".join(paragraph).rstrip("\n")}


_READERS = {
    "jsonl": _read_jsonl,
    "json": _read_json,
    "csv": _read_csv,
    "parquet": _read_parquet,
    "text": _read_text,
}
