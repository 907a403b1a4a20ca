"""Numbers of a ClassLabel column are read as the names that they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest

from tasks.datasets.readers.class_names import NAMES_MAX, with_class_names


def batch_of(described: bytes, numbers: list[Any]) -> pyarrow.RecordBatch:
    schema = pyarrow.schema([("answer", pyarrow.int64())], metadata={b"huggingface": described})
    return pyarrow.record_batch([pyarrow.array(numbers, pyarrow.int64())], schema=schema)


def features(names: Any, kind: str = "ClassLabel") -> bytes:
    return json.dumps({"info": {"features": {"answer": {"names": names, "_type": kind}}}}).encode()


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_what_datasets_writes(tmp_path: Path, suffix: str) -> None:
    from tasks.datasets.readers.arrow_files import read_arrow, read_parquet
    from tasks.datasets.readers.problems import Problems

    kind = datasets.Features(
        {"prompt": datasets.Value("string"), "answer": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = {"prompt": ["a", "b", "c"], "answer": [1, 0, -1]}
    made = datasets.Dataset.from_dict(rows, features=kind)
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        made.to_parquet(path)
        batches = read_parquet(path, path.name, Problems(), damaged=False)
    else:
        made.save_to_disk(tmp_path / "saved")
        (path,) = (tmp_path / "saved").glob("*.arrow")
        batches = read_arrow(path, path.name, Problems(), damaged=False)
    [batch] = batches
    assert batch.batch.to_pydict() == {**rows, "answer": ["yes", "no", None]}


@pytest.mark.parametrize(
    "described",
    [
        b"",
        b"no JSON",
        b"[" * 100_000,
        b'{"info": []}',
        features(["no", "yes"], kind="Value"),
        features([]),
        features(["no", 1]),
        features(["x" * 300, "yes"]),
        features([str(n) for n in range(NAMES_MAX + 1)]),
    ],
)
def test_numbers_stay_if_there_are_no_names(described: bytes) -> None:
    assert with_class_names(batch_of(described, [0, 1]))["answer"].to_pylist() == [0, 1]


def test_a_number_without_a_name_is_missing() -> None:
    batch = with_class_names(batch_of(features(["no", "yes"]), [0, 1, 2, -1, None]))
    assert batch["answer"].to_pylist() == ["no", "yes", None, None, None]
