"""When a waiting job starts: what can be told, and what cannot."""

from __future__ import annotations

import pytest

from backend_bridge.estimate import estimated_starts


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
    assert estimated_starts(remaining, slots, waiting, typical) == expected
