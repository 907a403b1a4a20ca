"""When a waiting job starts: what can be told, and what cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.scheduling.estimate import StartEstimate


@pytest.mark.parametrize(
    ("remaining", "slots", "waiting", "typical", "expected"),
    [
        ([], 1, 2, None, [0, None]),
        ([30], 1, 1, None, [30]),
        ([30], 1, 3, 10, [30, 40, 50]),
        ([30, 5], 2, 3, 100, [5, 30, 105]),
        ([30], 2, 2, 10, [0, 10]),
        ([None], 1, 1, None, [None]),
        ([None], 1, 1, 60, [60]),
        ([None, 20], 2, 1, None, [None]),
        ([None, 20], 3, 2, None, [0, None]),
        ([], 1, 0, None, []),
    ],
)
def test_estimates(
    remaining: list[float | None],
    slots: int,
    waiting: int,
    typical: float | None,
    expected: list[float | None],
) -> None:
    estimate = StartEstimate(remaining, slots, typical)
    assert estimate.first(waiting) == expected
    assert [estimate.at(n) for n in range(1, waiting + 1)] == expected


seconds = st.floats(0, 1e5)


@given(
    st.lists(seconds | st.none(), max_size=5),
    st.integers(1, 5),
    seconds | st.none(),
    st.integers(0, 60),
)
def test_one_position_alone_is_estimated_as_in_the_list(
    remaining: list[float | None], slots: int, typical: float | None, waiting: int
) -> None:
    estimate = StartEstimate(remaining, slots, typical)
    assert [estimate.at(n) for n in range(1, waiting + 1)] == estimate.first(waiting)
