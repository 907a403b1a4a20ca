"""Open what was located: parts, each one memory-mapped Arrow file of rows.

Read once; then from the cache, which goes by content.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow

from tasks.datasets.cache import cached, key_of
from tasks.datasets.readers.arrow_writer import LINE_COLUMN, rows_of
from tasks.datasets.readers.problems import ReadProblem, UnreadableRows
from tasks.datasets.readers.read import SourceFile, write_rows
from tasks.datasets.readers.rows import NumberedRow
from tasks.datasets.sources.content import content_of
from tasks.datasets.sources.folder import EVERY_FILE, Choice, LeftOut, data_files
from tasks.datasets.sources.splits import DataFile
from tasks.datasets.sources.unpack import Unpacker
from trainyard.contract.units import GB

LAYOUT = 4
"""Raise when reading changes what it makes of a file."""

DEFAULT_MAX_BYTES = 50 * GB

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """One split of a source.

    ``table`` is memory-mapped; :meth:`rows` gives its rows as Python values. ``key`` names the
    content. ``dropped`` rows could not be read and were left out, as asked; ``problems`` names the
    first of them.
    """

    name: str
    key: str
    table: pyarrow.Table
    dropped: int
    problems: tuple[ReadProblem, ...]
    files: tuple[tuple[str, int], ...]
    """Name and number of rows of each file, in order."""
    continuous: bool = False
    """The rows are the paragraphs of one text."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in the order in which they were first met."""
        return [name for name in self.table.schema.names if name != LINE_COLUMN]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def rows(self, start: int = 0) -> Iterator[NumberedRow]:
        """The rows from index ``start`` on, numbered from 1."""
        number = start
        for batch in self.table.slice(start).to_batches():
            for row in rows_of(batch):
                number += 1
                yield number, row

    def values(self, column: str) -> Iterator[Any]:
        """The values of one column, in order."""
        for batch in self.table.select([column]).to_batches():
            yield from (row[column] for row in rows_of(batch))

    def place(self, number: int) -> tuple[str, int | None, int]:
        """File, line (None if lines were not counted) and row in that file of row ``number``."""
        line = self.table.column(LINE_COLUMN)[number - 1].as_py()
        row = number
        for name, rows in self.files:
            if row <= rows:
                return name, line, row
            row -= rows
        raise IndexError(number)


@dataclass(frozen=True)
class Source:
    """What was read: the train part and, if the source has a split for it, the eval part."""

    parts: list[Part]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def open_parts(path: Path, cache_dir: Path, **options: Any) -> list[Part]:
    """The parts of :func:`open_source`."""
    return open_source(path, cache_dir, **options).parts


def open_source(
    path: Path,
    cache_dir: Path,
    *,
    name: str | None = None,
    choice: Choice = EVERY_FILE,
    skip_bad_rows: bool = False,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Source:
    """Read a file or folder, once; ``choice`` says which of its files are meant.

    ``name`` is what problems call the source (by default: its file name). ``skip_bad_rows`` leaves
    out rows that cannot be read; else they raise UnreadableRows. ``max_bytes`` bounds what archives
    unpack to. Raises DatasetError.
    """
    content = content_of(path, cache_dir)
    name = name or path.name
    key = key_of("read", LAYOUT, content, path.name, name, asdict(choice), skip_bad_rows)
    folder = cache_dir / "read" / key
    if not cached(folder):
        _read_into(folder, DataFile(path, name), choice, skip_bad_rows, max_bytes)
    facts = json.loads((folder / "parts.json").read_bytes())
    return Source(
        [_open_part(folder, key, part) for part in facts["parts"]],
        tuple(LeftOut(**file) for file in facts["left_out"]),
        tuple(facts["notes"]),
    )


def _open_part(folder: Path, key: str, facts: dict[str, Any]) -> Part:
    # Not closed: the table's columns live in this mapping.
    mapped = pyarrow.memory_map(str(folder / f"{facts['name']}.arrow"))
    return Part(
        name=facts["name"],
        key=f"{key}-{facts['name']}",
        table=pyarrow.ipc.open_stream(mapped).read_all(),
        dropped=facts["dropped"],
        problems=tuple(ReadProblem(**problem) for problem in facts["problems"]),
        files=tuple((name, rows) for name, rows in facts["files"]),
        continuous=facts["continuous"],
    )


def _read_into(
    folder: Path, source: DataFile, choice: Choice, skip_bad_rows: bool, max_bytes: int
) -> None:
    """Read everything into a folder beside ``folder``, which takes its name when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder.parent))
    try:
        unpacker = Unpacker(partial / "unpacked", max_bytes)
        chosen = data_files(source, unpacker, choice)
        facts = {
            "parts": [
                _read_part(name, files, partial, skip_bad_rows)
                for name, files in chosen.splits.items()
            ],
            "left_out": [asdict(file) for file in chosen.left_out],
            "notes": chosen.notes,
        }
        for name in ("unpacked", "scratch"):
            shutil.rmtree(partial / name, ignore_errors=True)
        (partial / "parts.json").write_text(json.dumps(facts))
        try:
            partial.rename(folder)
        except OSError:  # another process was faster
            if not (folder / "parts.json").exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read_part(
    name: str, files: Sequence[DataFile], partial: Path, skip_bad_rows: bool
) -> dict[str, Any]:
    sources = [SourceFile(file.path, file.name) for file in files]
    problems = write_rows(sources, partial / f"{name}.arrow", partial / "scratch")
    readable = sum(source.rows for source in sources)
    if problems.count and not skip_bad_rows:
        for problem in problems.first:
            logger.error("In the data set, %s", problem)
        raise UnreadableRows(problems.first, problems.count, readable)
    return {
        "name": name,
        "dropped": problems.count,
        "problems": [asdict(problem) for problem in problems.first],
        "files": [[source.name, source.rows] for source in sources],
        "continuous": all(source.format_name == "text" for source in sources),
    }
