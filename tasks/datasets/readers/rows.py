"""Rows that readers yield: Python values, or a batch of Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy
import pyarrow
from numpy.typing import NDArray

from tasks.datasets.readers.problems import Fault, Problems, ReadProblem

ROWS_PER_BATCH = 2000
BATCH_CHARACTERS = 4 * 1024 * 1024

Row: TypeAlias = dict[str, Any]
NumberedRow: TypeAlias = tuple[int, Row]
"""A row and its place among the rows of its part, counted from 1."""

Lines: TypeAlias = Sequence[int] | NDArray[numpy.int32] | None
"""The line (from 1) that each row starts in; None where lines were not counted."""


@dataclass(frozen=True)
class Rows:
    """Rows of a file in order."""

    rows: Sequence[Row]
    lines: Sequence[int]


@dataclass(frozen=True)
class Batch:
    """Rows of a file in order, in Arrow."""

    batch: pyarrow.RecordBatch
    lines: Lines = None


Chunk: TypeAlias = Rows | Batch


Found: TypeAlias = tuple[int, Row | Fault, int]
"""The line (from 1) that a row starts in, the row or what is wrong with it, and its characters."""


def in_batches(found: Iterable[Found], name: str, problems: Problems) -> Iterator[Rows]:
    """The rows of the file ``name``; what is wrong with others goes to ``problems``."""
    rows: list[Row] = []
    lines: list[int] = []
    size = 0
    for line, row, characters in found:
        if isinstance(row, Fault):
            problems.add(ReadProblem(name, line, *row))
            continue
        rows.append(row)
        lines.append(line)
        size += characters
        if len(rows) == ROWS_PER_BATCH or size > BATCH_CHARACTERS:
            yield Rows(rows, lines)
            rows, lines, size = [], [], 0
    yield Rows(rows, lines)
