"""Shapes of rows, what becomes of them, and which of them train."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tasks.datasets.parts import open_parts
from tasks.datasets.row_kinds import rows_of, shape_of
from tasks.datasets.shapes.format import format_row
from tasks.datasets.shapes.shape import recognise_shape
from tasks.datasets.split import SplitPlan, split_rows
from tasks.errors import ConfigurationError, DatasetError
from tests.support.data_files import write
from trainyard.contract.config import DataConfig


@pytest.mark.parametrize(("name", "text"), [("a.csv", "question,answer\n"), ("a.json", "[]")])
def test_a_data_set_without_rows_is_refused(tmp_path: Path, name: str, text: str) -> None:
    [part] = open_parts(write(tmp_path / name, text), tmp_path / "cache")
    with pytest.raises(DatasetError, match="no rows"):
        shape_of(part, DataConfig())


def test_rows_that_cannot_be_trained_on_are_counted_and_named(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "answer": "b"},
        {"question": "c", "answer": None},
        {"question": "a", "answer": "b"},
        {"question": "d", "answer": [1]},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps(row) + "\n" for row in rows))
    [part] = open_parts(path, tmp_path / "cache")
    for _ in ("read", "from the cache"):
        found = rows_of(part, shape_of(part, DataConfig()), tmp_path / "cache")
        assert (found.total, found.bad, found.empty, found.duplicates) == (4, 2, 1, 1)
        assert len(found.dataset) == 2
        assert [(problem.line, problem.reason) for problem in found.problems] == [
            (3, "'answer' is missing"),
            (7, "'answer' holds a list where text is needed"),
        ]


def test_a_rewrite_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "old"}\n{"text": "row"}\n')
    before = path.stat()

    def stored() -> list[str]:
        [part] = open_parts(path, tmp_path / "cache")
        shape = shape_of(part, DataConfig())
        return list(rows_of(part, shape, tmp_path / "cache").dataset["text"])

    assert stored() == ["old", "row"]
    write(path, '{"text": "new"}\n{"text": "row"}\n')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stored() == ["new", "row"]


# ---------------------------------------------------------------- shapes


def test_columns_can_be_told() -> None:
    shape = recognise_shape(["q", "a"], DataConfig(columns={"question": "q", "answer": "a"}))
    assert shape.columns == {"instruction": "q", "answer": "a"}
    assert recognise_shape(["body", "text"], DataConfig(text_field="body")).columns == {
        "text": "body"
    }
    with pytest.raises(DatasetError, match="'nope'"):
        recognise_shape(["q", "a"], DataConfig(columns={"question": "q", "answer": "nope"}))


def test_an_input_stands_below_its_instruction_and_a_figure_is_text() -> None:
    shape = recognise_shape(["instruction", "input", "output"])
    row = {"instruction": "Add.", "input": "1 and 2", "output": 3}
    assert json.loads(format_row(row, shape)["messages"]) == [
        {"role": "user", "content": "Add.\n\n1 and 2"},
        {"role": "assistant", "content": "3"},
    ]


# ---------------------------------------------------------------- splits


def test_splits_are_disjoint_seeded_and_sized() -> None:
    plan = SplitPlan(seed=1, max_samples=100, train_split=0.8, eval_split=0.2)
    train, evaluation = split_rows(1000, plan)
    assert (len(train), len(evaluation)) == (80, 20)
    assert not set(train) & set(evaluation)
    assert [list(part) for part in split_rows(1000, plan)] == [list(train), list(evaluation)]
    other, _ = split_rows(1000, SplitPlan(2, 100, 0.8, 0.2))
    assert list(other) != list(train)


def test_what_a_split_leaves_out_evaluates() -> None:
    assert [len(part) for part in split_rows(10, SplitPlan(0))] == [10, 0]
    assert [len(part) for part in split_rows(10, SplitPlan(0, train_split=0.9))] == [9, 1]
    assert [len(part) for part in split_rows(10, SplitPlan(0, eval_split=0.2))] == [8, 2]
    assert [len(part) for part in split_rows(2, SplitPlan(0, eval_split=0.01))] == [1, 1]
    with pytest.raises(ConfigurationError, match="more than 1"):
        split_rows(10, SplitPlan(0, train_split=0.9, eval_split=0.2))
