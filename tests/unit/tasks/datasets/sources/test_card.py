"""The card of a data set decides which files count, and how they are split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.datasets.parts import Source, open_source
from tasks.datasets.sources.folder import Choice
from tasks.errors import DatasetError

FILES = (
    *("main/train.jsonl", "main/test.jsonl", "socratic/train.jsonl", "socratic/test.jsonl"),
    *("clean.jsonl", "raw.jsonl", "odd.dat"),
)
MAIN: dict[str, Any] = {"config_name": "main", "data_files": "main/*"}
SOCRATIC: dict[str, Any] = {"config_name": "socratic", "data_dir": "socratic"}


def opened(tmp_path: Path, configs: list[dict[str, Any]], subset: str | None = None) -> Source:
    for name in FILES:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"text": name}) + "\n")
    card = f"---\nlicense: mit\n{yaml.safe_dump({'configs': configs})}---\n# A set\n"
    (tmp_path / "set/README.md").write_text(card)
    return open_source(tmp_path / "set", tmp_path / "cache", choice=Choice(subset))


def used(source: Source) -> dict[str, list[str]]:
    return {part.name: [name for name, _ in part.files] for part in source.parts}


def of(folder: str) -> dict[str, list[str]]:
    return {"train": [f"{folder}/train.jsonl"], "eval": [f"{folder}/test.jsonl"]}


def test_several_subsets_without_a_default_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="several subsets, and no default: main, socr") as caught:
        opened(tmp_path, [MAIN, SOCRATIC])
    assert caught.value.mend == "Name one in config.data.subset, as in 'main'."
    assert used(opened(tmp_path, [MAIN, SOCRATIC], "main")) == of("main")
    assert used(opened(tmp_path, [MAIN, SOCRATIC], "socratic")) == of("socratic")
    with pytest.raises(DatasetError, match="no subset 'nope'; it has main, socratic"):
        opened(tmp_path, [MAIN, SOCRATIC], "nope")


@pytest.mark.parametrize(
    "configs", [[SOCRATIC, MAIN | {"default": True}], [SOCRATIC, MAIN | {"config_name": "default"}]]
)
def test_the_default_is_used_and_said(tmp_path: Path, configs: list[dict[str, Any]]) -> None:
    source = opened(tmp_path, configs)
    assert used(source) == of("main")
    assert "chooses another: socratic" in source.notes[0]
    assert "socratic/train.jsonl" in {file.name for file in source.left_out}


@pytest.mark.parametrize(
    ("data_files", "train", "evaluation"),
    [
        ("clean.jsonl", ["clean.jsonl"], []),
        (["clean.jsonl", "./raw.jsonl"], ["clean.jsonl", "raw.jsonl"], []),
        ([{"split": "train", "path": "clean.jsonl"}], ["clean.jsonl"], []),
        ({"train": "clean.jsonl", "test": ["raw.jsonl"]}, ["clean.jsonl"], ["raw.jsonl"]),
        (
            [{"split": "validation", "path": "raw.*"}, {"split": "train", "path": ["c*.jsonl"]}],
            ["clean.jsonl"],
            ["raw.jsonl"],
        ),
        ([{"split": "train", "path": "**/train.jsonl"}], [of("main"), of("socratic")], []),
        ([{"split": "train", "path": "main/tr[a-z]in.json?"}], ["main/train.jsonl"], []),
        ("[!c]*.jsonl", ["raw.jsonl"], []),
        ("main/", ["main/train.jsonl"], ["main/test.jsonl"]),
        ([{"split": "all", "path": "odd.dat"}], ["odd.dat"], []),
    ],
)
def test_data_files_decide(
    tmp_path: Path, data_files: Any, train: list[Any], evaluation: list[str]
) -> None:
    source = opened(tmp_path, [{"config_name": "default", "data_files": data_files}])
    expected = [each if isinstance(each, str) else each["train"][0] for each in train]
    assert used(source) == {"train": expected} | ({"eval": evaluation} if evaluation else {})
    left_out = {file.name for file in source.left_out if file.expected}
    assert {*FILES[:-1]} - {*expected, *evaluation} <= left_out


def test_a_file_that_the_card_names_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"names 'gone\.jsonl' .* no such file"):
        opened(tmp_path, [{"config_name": "default", "data_files": ["clean.jsonl", "gone.jsonl"]}])


def test_without_a_card_a_subset_is_a_folder(tmp_path: Path) -> None:
    assert used(opened(tmp_path, [], "socratic")) == of("socratic")
    with pytest.raises(DatasetError, match="no subset 'nope'; it has main, socratic"):
        opened(tmp_path, [], "nope")


def test_a_card_that_cannot_be_read_is_no_card_to_ignore(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "a"}\n')
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")
    with pytest.raises(DatasetError, match=r"README\.md.* no YAML"):
        open_source(folder, tmp_path / "cache")
    (folder / "README.md").write_text("# Only words\n---\nconfigs: [\n---\n")
    assert used(open_source(folder, tmp_path / "cache")) == {"train": ["a.jsonl"]}
