"""Rows that readers yield: Python values, or a batch of Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy
import pyarrow
from numpy.typing import NDArray

Row: TypeAlias = dict[str, Any]
NumberedRow: TypeAlias = tuple[int, Row]
"""A row and its place among the rows of its part, counted from 1."""

Lines: TypeAlias = Sequence[int] | NDArray[numpy.int32] | None
"""The line (from 1) that each row starts in; None where lines were not counted."""


@dataclass(frozen=True)
class Rows:
    """Rows of a file in order."""

    rows: Sequence[Row]
    lines: Lines = None


@dataclass(frozen=True)
class Batch:
    """Rows of a file in order, in Arrow."""

    batch: pyarrow.RecordBatch
    lines: Lines = None


Chunk: TypeAlias = Rows | Batch
