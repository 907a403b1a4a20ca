"""The order of rows depends on seed and epoch alone."""

from __future__ import annotations

from typing import Any

import datasets
import torch

from tasks.methods.samplers import LengthGroupedSampler, row_lengths

LENGTHS = [(n * 7) % 50 + 1 for n in range(200)]


def order(epoch: int, seed: int = 3) -> list[int]:
    sampler = LengthGroupedSampler(LENGTHS, batch_size=8, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_an_epochs_order_needs_no_epoch_before_it() -> None:
    one = LengthGroupedSampler(LENGTHS, batch_size=8, seed=3)
    through = []
    for epoch in range(3):
        one.set_epoch(epoch)
        through.append(list(one))
    torch.rand(17)  # the global random numbers do not matter
    assert through == [order(0), order(1), order(2)]
    assert through[0] != through[1]
    assert order(1, seed=4) != order(1, seed=3)


def test_every_row_comes_once_and_batches_are_alike() -> None:
    rows = order(1)
    assert sorted(rows) == list(range(200))
    assert len(LengthGroupedSampler(LENGTHS, 8, 3)) == 200
    spread = [
        max(LENGTHS[row] for row in batch) - min(LENGTHS[row] for row in batch)
        for batch in (rows[start : start + 8] for start in range(0, 200, 8))
    ]
    assert sum(spread) / len(spread) < 10


def test_the_global_random_numbers_are_left_alone() -> None:
    before = torch.random.get_rng_state()
    order(1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_lengths_come_from_the_rows_that_are_selected() -> None:
    rows: Any = datasets.Dataset.from_dict({"input_ids": [[1], [1, 2, 3], [], [1, 2]]})
    assert row_lengths(rows) == [1, 3, 0, 2]
    assert row_lengths(rows.select([3, 1])) == [2, 3]
    pairs = {"prompt_ids": [[1], [1, 2]], "chosen_ids": [[1], [2]], "rejected_ids": [[1, 2], [1]]}
    assert row_lengths(datasets.Dataset.from_dict(pairs)) == [3, 3]
