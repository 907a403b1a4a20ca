"""Samplers: the order of rows in an epoch, the same in every process that comes to that epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import pyarrow
import pyarrow.compute
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

_ROWS_AT_ONCE = 10_000
"""Of a mix every row read is a copy."""


class LengthGroupedSampler(Sampler[int]):
    """Shuffles rows so that those of one batch are about equally long.

    As transformers' sampler of that name, whose order comes from the global random numbers: a
    resume in a later epoch would then see another one. Here it comes from nothing but ``seed``
    and the epoch, which the data loader tells through :meth:`set_epoch`.

    ``lengths``: tokens of each row. ``batch_size``: rows of one optimizer step.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = list(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch`` (from 0) for the next iteration."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed + self._epoch)
        return iter(
            get_length_grouped_indices(self._lengths, self._batch_size, generator=generator)
        )


def row_lengths(dataset: datasets.Dataset) -> list[int]:
    """Tokens of each row: of ``input_ids``, or of a prompt with the longest of its answers."""
    rows = dataset.with_format("arrow")
    parts = (rows[at : at + _ROWS_AT_ONCE] for at in range(0, len(dataset), _ROWS_AT_ONCE))
    return [length for part in parts for length in _lengths_in(part)]


def _lengths_in(table: pyarrow.Table) -> list[int]:
    def lengths(column: str) -> Any:
        return pyarrow.compute.list_value_length(table.column(column))

    if "input_ids" in table.column_names:
        return list(lengths("input_ids").to_pylist())
    answers = [name for name in table.column_names if name.endswith("_ids")]
    answers.remove("prompt_ids")
    longest = pyarrow.compute.max_element_wise(*map(lengths, answers))
    return list(pyarrow.compute.add(lengths("prompt_ids"), longest).to_pylist())
