"""Read files into one memory-mapped Arrow file, in bounded memory.

Everything that the libraries read silently wrong is right here or a problem that names the line:
a ragged row, a broken line, a repeated column, an unbalanced quote. ``None``, ``NA`` and ``null``
in a CSV stay text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow

from tasks.datasets.readers.arrow_files import read_arrow, read_parquet
from tasks.datasets.readers.arrow_writer import ColumnsWriter
from tasks.datasets.readers.csv_rows import NotPlain, read_plain_csv, read_strict_csv
from tasks.datasets.readers.encoding import NotUtf8, eight_bit_of, write_as_utf8
from tasks.datasets.readers.json.document import read_json
from tasks.datasets.readers.json.lines import read_jsonl
from tasks.datasets.readers.plain_text import read_text
from tasks.datasets.readers.problems import Problems
from tasks.datasets.readers.recognise import Format, recognise_format
from tasks.datasets.readers.rows import Chunk
from tasks.errors import DatasetError

_READERS: dict[str, Callable[..., Iterator[Chunk]]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "text": read_text,
    "parquet": read_parquet,
    "arrow": read_arrow,
}


@dataclass
class SourceFile:
    """One file of a part: where it lies, and the name that people know it by.

    ``path`` is not compressed. ``rows`` and ``format_name`` are known when it has been read.
    """

    path: Path
    name: str
    rows: int = 0
    format_name: str = ""
    damaged: bool = field(default=False, repr=False)
    strict: bool = field(default=False, repr=False)


def write_rows(files: Sequence[SourceFile], target: Path, scratch: Path) -> Problems:
    """Write the rows of ``files``, in order, to the Arrow file ``target``; see ColumnsWriter.

    Returns the rows that could not be read. ``scratch`` is a folder for text that is not UTF-8.
    Raises DatasetError.
    """
    while True:
        problems = Problems()
        with ColumnsWriter(target) as writer:
            if all(_write_file(file, writer, problems, scratch) for file in files):
                writer.finish()
                return problems


def _write_file(file: SourceFile, writer: ColumnsWriter, problems: Problems, scratch: Path) -> bool:
    """False where all must be read again, since this file needs another reader."""
    before = writer.rows
    try:
        for chunk in read_file(file, problems, scratch):
            writer.write(chunk)
    except NotPlain:
        file.strict = True
        return False
    except pyarrow.ArrowException as error:
        reason = " ".join(str(error).split())
        raise DatasetError(
            f"The data set {file.name!r} holds values that cannot be kept: {reason}.",
            "It may be damaged: write or copy it again.",
        ) from error
    except NotUtf8:
        encoding = eight_bit_of(file.path)
        if encoding is None:
            file.damaged = True
        else:
            _recode(file, encoding, scratch)
        return False
    file.rows = writer.rows - before
    return True


def read_file(file: SourceFile, problems: Problems, scratch: Path) -> Iterator[Chunk]:
    """Yield the chunks of one file. Raises DatasetError, NotPlain, NotUtf8."""
    found = recognise_format(file.path, file.name)
    file.format_name = found.name
    if found.encoding not in ("utf-8", "utf-8-sig"):
        _recode(file, found.encoding, scratch)
    if found.name == "csv":
        return _read_csv(file, found, problems)
    return _READERS[found.name](file.path, file.name, problems, damaged=file.damaged)


def _read_csv(file: SourceFile, found: Format, problems: Problems) -> Iterator[Chunk]:
    delimiter = found.delimiter or ","
    if file.strict or file.damaged:
        return read_strict_csv(file.path, file.name, delimiter, problems, damaged=file.damaged)
    return read_plain_csv(file.path, file.name, delimiter)


def _recode(file: SourceFile, encoding: str, scratch: Path) -> None:
    scratch.mkdir(parents=True, exist_ok=True)
    target = scratch / f"utf-8-{len(list(scratch.iterdir()))}{file.path.suffix}"
    write_as_utf8(file.path, target, encoding, file.name)
    file.path = target
