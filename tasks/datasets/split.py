"""Choose the rows that train and the rows that evaluate, from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from tasks.errors import ConfigurationError

Indices = NDArray[numpy.int64]
Digests = NDArray[numpy.uint64]


@dataclass(frozen=True)
class SplitPlan:
    """``config.data`` of a request as far as it chooses rows."""

    seed: int
    max_samples: int | None = None
    train_split: float | None = None
    eval_split: float | None = None

    def fractions(self) -> tuple[float, float]:
        """(train, eval). What one of the two leaves goes to the other; neither given: all train.

        Raises ConfigurationError if they add up to more than 1.
        """
        if self.train_split is None and self.eval_split is None:
            return 1.0, 0.0
        if self.train_split is None:
            return 1.0 - (self.eval_split or 0.0), self.eval_split or 0.0
        if self.eval_split is None:
            return self.train_split, 1.0 - self.train_split
        if self.train_split + self.eval_split > 1 + 1e-9:
            raise ConfigurationError(
                f"config.data.train_split ({self.train_split}) and eval_split ({self.eval_split}) "
                "add up to more than 1."
            )
        return self.train_split, self.eval_split


def repeated(train: Digests, evaluation: Digests) -> int:
    """How many rows that evaluate are the same as one that trains."""
    return int(numpy.isin(evaluation, train).sum())


def split_rows(count: int, plan: SplitPlan) -> tuple[Indices, Indices]:
    """Indices (int64, ascending) of the train and the eval rows out of ``count``.

    A random sample of ``max_samples`` rows, the same for the same seed. Where an eval split is
    asked for and there are two rows, each side has at least one.
    """
    train_fraction, eval_fraction = plan.fractions()
    chosen = numpy.random.default_rng(plan.seed).permutation(count)[: plan.max_samples]
    eval_count = round(len(chosen) * eval_fraction)
    if eval_fraction > 0 and len(chosen) > 1:
        eval_count = min(max(eval_count, 1), len(chosen) - 1)
    train_count = max(min(round(len(chosen) * train_fraction), len(chosen) - eval_count), 1)
    return (
        numpy.sort(chosen[eval_count : eval_count + train_count]),
        numpy.sort(chosen[:eval_count]),
    )
