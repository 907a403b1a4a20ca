"""Eval rows of several processes: each is evaluated once.

accelerate gives every process as many batches as the others, and repeats rows for that: a sum
over the processes would count those twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

SURPLUS = "surplus"
"""In a batch that has no row of its own: it keeps the processes in step, and counts for nothing."""


class FilledUp:
    """A data set filled up with None to a multiple of ``rows``, those of one round of batches."""

    def __init__(self, dataset: Any, rows: int) -> None:
        self._dataset = dataset
        self._length = -(-len(dataset) // rows) * rows

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return self._dataset[index] if index < len(self._dataset) else None


class RowsOnly:
    """A collator that leaves the filling out; ``spare`` is the row of a batch that has none."""

    def __init__(self, collate: Callable[[Sequence[Any]], dict[str, Any]], spare: Any) -> None:
        self._collate = collate
        self._spare = spare

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        """The batch of the rows that there are."""
        found = [row for row in rows if row is not None]
        return self._collate(found) if found else {**self._collate([self._spare]), SURPLUS: True}
