"""The draw of rows: counts, seeds, and the order, from the seed and the numbers alone."""

from __future__ import annotations

from collections import Counter

import numpy
import pytest

from tasks.datasets.mix.draw import (
    Purpose,
    drawn,
    mixed,
    random_numbers,
    repeated_to,
    rows_wanted,
)
from trainyard.contract.fields.data_sets import DataSet


def asked(**how: float) -> DataSet:
    return DataSet.model_validate({"path": "a.jsonl", **how})


@pytest.mark.parametrize(
    ("how", "rows", "wanted"),
    [
        ({}, 10, 10),
        ({"weight": 1}, 10, 10),
        ({"weight": 0.5}, 10, 5),
        ({"weight": 0.001}, 10, 1),
        ({"weight": 2}, 10, 20),
        ({"weight": 2.3}, 10, 23),
        ({"weight": 1000}, 10, 10_000),
        ({"samples": 4}, 10, 4),
        ({"samples": 25}, 10, 25),
        ({"weight": 0.5}, 0, 0),
    ],
)
def test_so_many_rows_are_wanted(how: dict[str, float], rows: int, wanted: int) -> None:
    assert rows_wanted(rows, asked(**how)) == wanted


@pytest.mark.parametrize(
    ("count", "times"), [(20, {2: 10}), (23, {2: 7, 3: 3}), (10, {1: 10}), (4, {1: 4})]
)
def test_rows_are_repeated_whole_and_a_rest_of_them_is_drawn(
    count: int, times: dict[int, int]
) -> None:
    rows = repeated_to(count, 10, random_numbers(42, Purpose.REST, 1))
    assert len(rows) == count
    assert Counter(Counter(rows.tolist()).values()) == times


def test_of_no_rows_none_are_drawn() -> None:
    assert len(repeated_to(5, 0, random_numbers(42, Purpose.REST))) == 0


def test_a_draw_is_of_its_seed_its_set_and_its_purpose() -> None:
    def rows(seed: int = 7, purpose: Purpose = Purpose.TRAIN, number: int = 1) -> list[int]:
        random = random_numbers(seed, purpose, number)
        return [int(row) for row in drawn(numpy.arange(1000), 500, random)]

    assert rows() == rows() == sorted(set(rows()))
    others = (rows(seed=8), rows(purpose=Purpose.REST), rows(number=2))
    assert all(other != rows() for other in others)
    assert 200 < len(set(rows()) & set(others[0])) < 300


def test_the_order_is_a_shuffle_of_all_but_those_that_stay() -> None:
    sets = [numpy.arange(0, 50), numpy.arange(50, 60), numpy.arange(60, 90)]
    order = mixed(sets, [False, True, False], random_numbers(1, Purpose.TRAIN_ORDER)).tolist()
    assert (
        order == mixed(sets, [False, True, False], random_numbers(1, Purpose.TRAIN_ORDER)).tolist()
    )
    assert sorted(order) == list(range(90))
    assert order[80:] == list(range(50, 60))
    assert order[:80] != sorted(order[:80])
    assert mixed(sets, [True] * 3, random_numbers(1, Purpose.TRAIN_ORDER)).tolist() == list(
        range(90)
    )
