"""Draw of rows from several data sets: how many of each, which, and in which order.

All of it comes from the seed and the numbers of rows, and nothing else: a resume draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy

from tasks.datasets.split import Indices
from trainyard.contract.fields.data_sets import DATA_SETS_MAX, DataSet

MIXED_ROWS_MAX = 10_000_000
"""Rows of a mix that repeats some: a number of 8 bytes is held for each."""
_ALL = DATA_SETS_MAX


class Purpose(IntEnum):
    """What is drawn: each draw has random numbers of its own."""

    TRAIN, EVAL, REST, TRAIN_ORDER, EVAL_ORDER = range(5)


def random_numbers(seed: int, purpose: Purpose, number: int = _ALL) -> numpy.random.Generator:
    """Those of the set of such a number; by default those of all sets together."""
    return numpy.random.default_rng([seed, number, purpose])


def rows_wanted(rows: int, one: DataSet) -> int:
    """Rows that a set of so many shall add to the training; repeated ones count."""
    if one.samples is not None:
        return one.samples
    return max(min(rows, 1), round(rows * (1.0 if one.weight is None else one.weight)))


def drawn(rows: Indices, count: int, random: numpy.random.Generator) -> Indices:
    """So many of ``rows``, each at most once, in their order."""
    return numpy.sort(random.permutation(rows)[:count])


def repeated_to(count: int, rows: int, random: numpy.random.Generator) -> Indices:
    """Indices of ``rows`` rows, all of them as often as ``count`` holds them, and a drawn rest."""
    every = numpy.arange(rows, dtype=numpy.int64)
    if not rows:
        return every
    times, rest = divmod(count, rows)
    return numpy.concatenate([*[every] * times, drawn(every, rest, random)])


def mixed(sets: Sequence[Indices], stay: Sequence[bool], random: numpy.random.Generator) -> Indices:
    """One order of the rows of all; those of a set that is to ``stay`` as it is come last."""
    moved = [rows for rows, stays in zip(sets, stay, strict=True) if not stays]
    kept = [rows for rows, stays in zip(sets, stay, strict=True) if stays]
    shuffled = [random.permutation(numpy.concatenate(moved))] if moved else []
    return numpy.concatenate([*shuffled, *kept])
