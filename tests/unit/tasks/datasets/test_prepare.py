"""Shapes of rows, what becomes of them, and which of them train."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

from tasks.datasets.parts import open_parts
from tasks.datasets.row_kinds import rows_of, shape_of
from tasks.datasets.shapes.format import format_row
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.shapes.shape import recognise_shape
from tasks.datasets.split import SplitPlan, split_rows
from tasks.errors import ConfigurationError, DatasetError
from tests.support.data_files import write
from tests.support.paths import SHARED_DATA
from trainyard.contract.config import DataConfig


@pytest.fixture(autouse=True)
def no_progress_bars() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


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


@pytest.mark.parametrize(
    ("columns", "shape"),
    [
        (["text"], "text"),
        (["prompt", "completion"], "prompt_completion"),
        (["question", "answer", "id"], "dialogue"),
        (["instruction", "input", "output"], "dialogue"),
        (["instruction", "input", "response"], "dialogue"),
        (["Instruction", "Output"], "dialogue"),
        (["system_prompt", "question", "response"], "dialogue"),
        (["messages", "score"], "messages"),
        (["conversations"], "messages"),
    ],
)
def test_shapes_are_recognised_from_the_columns(columns: list[str], shape: str) -> None:
    assert recognise_shape(columns).name == shape


def test_no_usable_column_names_the_columns_and_what_is_needed() -> None:
    with pytest.raises(DatasetError, match="'price', 'size'") as caught:
        recognise_shape(["price", "size"])
    assert "prompt and completion" in caught.value.mend


def test_columns_can_be_told() -> None:
    shape = recognise_shape(["q", "a"], DataConfig(columns={"question": "q", "answer": "a"}))
    assert shape.columns == {"instruction": "q", "answer": "a"}
    assert recognise_shape(["body", "text"], DataConfig(text_field="body")).columns == {
        "text": "body"
    }
    with pytest.raises(DatasetError, match="'nope'"):
        recognise_shape(["q", "a"], DataConfig(columns={"question": "q", "answer": "nope"}))


def test_rows_become_conversations() -> None:
    shape = recognise_shape(["instruction", "input", "output"])
    row = {"instruction": "Add.", "input": "1 and 2", "output": 3}
    assert json.loads(format_row(row, shape)["messages"]) == [
        {"role": "user", "content": "Add.\n\n1 and 2"},
        {"role": "assistant", "content": "3"},
    ]
    sharegpt = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    messages = json.loads(format_row(sharegpt, recognise_shape(["conversations"]))["messages"])
    assert [message["role"] for message in messages] == ["user", "assistant"]
    with pytest.raises(RowProblem, match="no assistant"):
        format_row({"messages": [{"role": "user", "content": "a"}]}, recognise_shape(["messages"]))


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


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize(
    ("name", "rows", "shape"),
    [
        ("gsm8k_test.jsonl", 300, "dialogue"),
        ("codegen_instruct.json", 800, "dialogue"),
        ("tinyshakespeare.txt", 7222, "text"),
    ],
)
def test_real_files_are_read(tmp_path: Path, name: str, rows: int, shape: str) -> None:
    [part] = open_parts(SHARED_DATA / name, tmp_path / "cache")
    found = shape_of(part, DataConfig(text_field="text"))
    assert found.name == shape
    assert rows_of(part, found, tmp_path).total == rows
