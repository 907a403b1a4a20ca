"""Eval rows of several processes: each once, and batches of the filling for none."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.methods.counting.eval_rows import SURPLUS, FilledUp, RowsOnly


def collate(rows: Any) -> dict[str, Any]:
    return {"rows": list(rows)}


@pytest.mark.parametrize(
    ("count", "batch", "processes"), [(7, 2, 2), (8, 2, 2), (1, 4, 3), (5, 1, 3)]
)
def test_every_row_is_in_one_batch(count: int, batch: int, processes: int) -> None:
    rows = [{"n": n} for n in range(count)]
    filled = FilledUp(rows, batch * processes)
    assert len(filled) % (batch * processes) == 0
    batches = [
        RowsOnly(collate, rows[0])([filled[i] for i in range(start, start + batch)])
        for start in range(0, len(filled), batch)
    ]
    counted = [row["n"] for one in batches if SURPLUS not in one for row in one["rows"]]
    assert counted == list(range(count))
    assert all(one["rows"] for one in batches), "a batch without a row has nothing to go forward"
