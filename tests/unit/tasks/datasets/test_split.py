"""Splits that a data set brings along are used whole and as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from tasks.datasets.read_data import read_data
from tasks.datasets.report import Report
from tasks.datasets.sources.locate import DownloadLimits, Located
from tasks.datasets.training_data import ReadData
from trainyard.contract.config import JobConfig

TRAIN = [{"text": f"train {n}"} for n in range(20)]
HELD_BACK = [{"text": f"held back {n}"} for n in range(7)]


def as_jsonl(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def files(folder: Path) -> None:
    folder.mkdir()
    (folder / "train.jsonl").write_text(as_jsonl(TRAIN))
    (folder / "validation.jsonl").write_text(as_jsonl(HELD_BACK))


def shards(folder: Path) -> None:
    folder.mkdir()
    for part, rows in enumerate((TRAIN[:11], TRAIN[11:])):
        (folder / f"train-0000{part}-of-00002.jsonl").write_text(as_jsonl(rows))
    datasets.Dataset.from_list(HELD_BACK).to_parquet(folder / "test-00000-of-00001.parquet")


def dataset_dict(folder: Path) -> None:
    splits = {"validation": HELD_BACK, "train": TRAIN, "test": TRAIN[:1]}
    datasets.DatasetDict(
        {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
    ).save_to_disk(folder)


def read(folder: Path, cache: Path, data: dict[str, Any]) -> tuple[ReadData, Report]:
    report = Report("set", "sft")
    config = JobConfig.model_validate({"model": {"name": "-"}, "data": data, "seed": 3})
    return read_data(Located(folder, "set"), config, cache, report, DownloadLimits()), report


def texts(found: ReadData, side: str) -> list[str]:
    part, indices = found.train if side == "train" else found.eval
    return [found.stored[part].dataset[int(n)]["text"] for n in indices]


@pytest.mark.parametrize("write", [files, shards, dataset_dict])
@pytest.mark.parametrize(
    "data",
    [
        {},
        {"train_split": 0.5},
        {"eval_split": 0.5},
        {"train_split": 0.1, "eval_split": 0.1},
        {"train_split": 1.0, "eval_split": 0.0},
    ],
)
def test_ready_made_splits_are_used_whole(
    tmp_path: Path, write: Callable[[Path], None], data: dict[str, Any]
) -> None:
    write(tmp_path / "set")
    found, report = read(tmp_path / "set", tmp_path / "cache", data)
    assert texts(found, "train") == [row["text"] for row in TRAIN]
    assert texts(found, "eval") == [row["text"] for row in HELD_BACK]
    assert report.splits == {"train": 20, "eval": 7}
    assert any("own eval split is used; data.train_split" in note for note in report.notes)


def test_max_samples_bounds_the_train_split_alone(tmp_path: Path) -> None:
    files(tmp_path / "set")
    found, _ = read(tmp_path / "set", tmp_path / "cache", {"max_samples": 5, "train_split": 0.2})
    assert len(texts(found, "train")) == 5
    assert set(texts(found, "train")) < {row["text"] for row in TRAIN}
    assert texts(found, "eval") == [row["text"] for row in HELD_BACK]
