"""Which files of a folder train, which evaluate, and what is said of the others."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from tasks.datasets.parts import Source, open_source
from tasks.datasets.sources.folder import Choice
from tasks.errors import DatasetError

QA = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(1, 4)]
ROWS = "".join(json.dumps(row) + "\n" for row in QA)
NOTES = "Where these rows are from.\n"


def folder(path: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def opened(
    tmp_path: Path, files: dict[str, Any], subset: str | None = None, split: str | None = None
) -> Source:
    source = folder(tmp_path / "set", files)
    return open_source(source, tmp_path / "cache", choice=Choice(subset, split))


def used(source: Source) -> dict[str, list[str]]:
    """Split → the names of its files."""
    return {part.name: [name for name, _ in part.files] for part in source.parts}


def missed(source: Source) -> list[str]:
    """The files that were left out though they may hold rows."""
    return [file.name for file in source.left_out if not file.expected]


# ---------------------------------------------------------------- data by their names


def parquet(**options: Any) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(QA), sink, **options)
    return sink.getvalue()


def test_data_under_any_suffix_of_its_format_is_read(tmp_path: Path) -> None:
    files = {
        **dict.fromkeys(("a.jsonl", "b.jsonlines", "c.jl", "d.JSONL", "e.ndjson"), ROWS),
        "f.jsonl.bz2": bz2.compress(ROWS.encode()),
        "g.jsonl.gzip": gzip.compress(ROWS.encode()),
        "h.parquet.gzip": parquet(compression="gzip"),
        "i.pq": parquet(),
        "j.txt": ROWS,
    }
    source = opened(tmp_path, files)
    assert used(source) == {"train": list(files)}
    assert [row for _, row in source.parts[0].rows()] == QA * len(files)
    assert not source.left_out


@pytest.mark.parametrize("names", [("a.md", "b/c.md"), ("a.md", "b.txt"), ("a.txt", "b.markdown")])
def test_folders_of_documents_are_read_whole(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = opened(tmp_path, {name: f"About {name}.\n" for name in names})
    assert used(source) == {"train": list(names)}
    assert source.parts[0].continuous


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "metadata.json", "dataset_info.json", "adapter_config.json"),
        *("README.md", "README.zh.md", "LICENSE", "LICENSE.txt", "requirements.txt"),
        *("load.py", "picture.png", "_SUCCESS", "data.yaml", "a.jsonl.sha256"),
    ],
)
def test_a_neighbour_that_is_no_data_is_left_out(tmp_path: Path, name: str) -> None:
    source = opened(tmp_path, {"qa.jsonl": ROWS, name: '{"seed": 1}'})
    assert used(source) == {"train": ["qa.jsonl"]}
    assert [file.name for file in source.left_out] == [name]
    assert not missed(source)


XLSX = io.BytesIO()
with zipfile.ZipFile(XLSX, "w") as archive:
    archive.writestr("xl/workbook.xml", "")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("more.xlsx", XLSX.getvalue(), "Excel workbook"),
        ("more.db", b"SQLite format 3\0", "SQLite"),
        ("more.pkl", b"\x80\x04\x95", "pickle"),
        ("more.dat", ROWS, "called .dat"),
        ("part-00000", ROWS, "no suffix"),
        ("_more.jsonl", ROWS, "underscore"),
        ("notes.txt", NOTES, "plain text, beside files of rows"),
        ("notes.md", NOTES, "plain text, beside files of rows"),
        ("run.json", '{"seed": 1, "by": "me"}', "one JSON object"),
    ],
)
def test_a_file_that_may_be_missed_is_named(
    tmp_path: Path, name: str, content: Any, why: str
) -> None:
    source = opened(tmp_path, {"qa.jsonl": ROWS, name: content})
    assert used(source) == {"train": ["qa.jsonl"]}
    assert missed(source) == [name]
    assert [why in file.why for file in source.left_out] == [True]


def test_a_folder_without_data_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no file of data\. Left out: table\.xlsx \(it is an E"):
        opened(tmp_path, {"table.xlsx": XLSX.getvalue()})


@pytest.mark.parametrize("name", ["licensed_questions.jsonl", "readme_questions.jsonl"])
def test_a_name_that_begins_like_a_licence_is_data(tmp_path: Path, name: str) -> None:
    assert used(opened(tmp_path, {name: ROWS})) == {"train": [name]}


def test_rows_as_one_object_a_file_are_data(tmp_path: Path) -> None:
    files = {f"{n}.json": json.dumps(row) for n, row in enumerate(QA)}
    assert len(opened(tmp_path, {**files, "more.jsonl": ROWS}).parts[0]) == 6


def test_what_is_no_plain_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/gone.jsonl").symlink_to("nowhere.jsonl")
    os.mkfifo(tmp_path / "set/pipe.jsonl")
    source = opened(tmp_path, {"qa.jsonl": ROWS})
    assert [file.why for file in source.left_out] == [
        "it is a link that leads nowhere",
        "it is no plain file",
    ]


def test_rows_in_a_file_named_like_settings_are_read(tmp_path: Path) -> None:
    assert used(opened(tmp_path, {"info.json": json.dumps(QA)})) == {"train": ["info.json"]}


def test_a_table_with_a_log_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Delta Lake table"):
        opened(tmp_path, {"a.parquet": parquet(), "_delta_log/0.json": "{}"})


# ---------------------------------------------------------------- splits


@pytest.mark.parametrize(
    "files",
    [
        ("code-questions.jsonl", "unit-test-questions.jsonl"),
        ("contest.jsonl", "latest.jsonl", "developer.jsonl", "evaluate.jsonl"),
        ("cooking-tips.jsonl", "training-tips.jsonl"),
        ("code.jsonl", "unit-test.jsonl"),
        ("part-00000-of-00002.jsonl", "part-00001-of-00002.jsonl"),
    ],
)
def test_a_word_in_a_name_is_no_split(tmp_path: Path, files: tuple[str, ...]) -> None:
    assert used(opened(tmp_path, dict.fromkeys(files, ROWS))) == {"train": sorted(files)}


@pytest.mark.parametrize(
    ("train", "evaluation"),
    [
        ("train.jsonl", "test.jsonl"),
        ("train/a.jsonl", "test/a.jsonl"),
        ("split=train/a.jsonl", "split=test/a.jsonl"),
        ("train-00000-of-00001.jsonl", "validation-00000-of-00001.jsonl"),
        ("train/unit-test.jsonl", "dev/unit-test.jsonl"),
        ("gsm8k_train.jsonl", "gsm8k_test.jsonl"),
        ("train_questions.jsonl", "test_questions.jsonl"),
        ("data/train_sft-00000-of-00001.jsonl", "data/test_sft-00000-of-00001.jsonl"),
        ("TRAIN.jsonl", "Test.jsonl"),
        ("train.jsonl.gz", "dev.jsonl"),
    ],
)
def test_splits_are_whole_words_or_folders(tmp_path: Path, train: str, evaluation: str) -> None:
    files: dict[str, Any] = dict.fromkeys((train, evaluation), ROWS)
    files |= {name: gzip.compress(ROWS.encode()) for name in files if name.endswith(".gz")}
    found = used(opened(tmp_path, files))
    assert [Path(found[split][0]).name for split in ("train", "eval")] == [
        Path(train).name,
        Path(evaluation).name,
    ]


def test_shards_of_one_split_are_one(tmp_path: Path) -> None:
    files = ("train_part1.jsonl", "train_part2.jsonl", "train-3.jsonl", "train04.jsonl")
    assert len(used(opened(tmp_path, dict.fromkeys(files, ROWS)))["train"]) == 4


def test_shards_that_are_not_there_are_missed(tmp_path: Path) -> None:
    shards = (f"data/train-{n:05}-of-00004.jsonl" for n in (0, 3))
    source = opened(tmp_path, dict.fromkeys(shards, ROWS))
    assert missed(source) == ["train-00001-of-00004.jsonl"]
    assert "2 of 4 shards are missing" in source.left_out[0].why


SFT = ("train_sft", "train_prefs", "test_sft", "test_prefs")


@pytest.mark.parametrize("pattern", ["{}.jsonl", "data/{}-00000-of-00001-0a1b2c3d4e5f.jsonl"])
def test_several_splits_to_train_on_are_asked_about(tmp_path: Path, pattern: str) -> None:
    files = {pattern.format(split): ROWS for split in SFT}
    with pytest.raises(DatasetError, match="several splits to train on: train_") as caught:
        opened(tmp_path, files)
    assert "config.data.split, as in 'train_" in caught.value.mend
    chosen = opened(tmp_path, files, split="train_sft")
    assert used(chosen).keys() == {"train", "eval"}
    assert all("_sft" in name for names in used(chosen).values() for name in names)
    assert not missed(chosen), "the person has chosen"
    assert len(used(opened(tmp_path, files, split="train_sft+train_prefs"))["train"]) == 2
    with pytest.raises(DatasetError, match="no split 'nope'; it has test_prefs, test_sft, train_"):
        opened(tmp_path, files, split="nope")


def test_the_splits_of_save_to_disk_are_asked_about_too(tmp_path: Path) -> None:
    one = datasets.Dataset.from_list(QA)
    datasets.DatasetDict(dict.fromkeys(SFT, one)).save_to_disk(tmp_path / "set")
    with pytest.raises(DatasetError, match="several splits to train on: train_sft, train_prefs"):
        open_source(tmp_path / "set", tmp_path / "cache")
    source = open_source(tmp_path / "set", tmp_path / "cache", choice=Choice(split="train_prefs"))
    assert [part.files[0][0].partition("/")[0] for part in source.parts] == [
        "train_prefs",
        "test_prefs",
    ]


def test_what_is_in_no_split_that_is_used_is_named(tmp_path: Path) -> None:
    splits = ("train", "validation", "test", "unsupervised")
    source = opened(tmp_path, {f"{split}-00000-of-00001.jsonl": ROWS for split in splits})
    assert used(source) == {
        "train": ["train-00000-of-00001.jsonl"],
        "eval": ["validation-00000-of-00001.jsonl"],
    }
    assert [file.name.partition("-")[0] for file in source.left_out] == ["test", "unsupervised"]
    assert missed(source) == ["unsupervised-00000-of-00001.jsonl"]


@pytest.mark.parametrize("other", ["gsm8k.jsonl", "extra.jsonl"])
def test_a_file_beside_splits_is_asked_about(tmp_path: Path, other: str) -> None:
    files = dict.fromkeys((other, "gsm8k_train.jsonl", "gsm8k_test.jsonl"), ROWS)
    with pytest.raises(DatasetError, match=f"'{other}' is not"):
        opened(tmp_path, files)
    source = opened(tmp_path, files, split="train")
    assert used(source) == {"train": ["gsm8k_train.jsonl"], "eval": ["gsm8k_test.jsonl"]}


@pytest.mark.parametrize("choice", [Choice("main"), Choice(split="test")])
def test_one_file_has_no_subset_and_no_split(tmp_path: Path, choice: Choice) -> None:
    path = folder(tmp_path, {"a.jsonl": ROWS}) / "a.jsonl"
    with pytest.raises(DatasetError, match="is one file"):
        open_source(path, tmp_path / "cache", choice=choice)
