"""Paths as people type them, against the folders that jobs may read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trainyard.local.typed_paths import PathRefused, Place, named_for_worker, refuse_missing


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name in ("datasets/chats.jsonl", "more/rows.csv", "more/chats.jsonl", "elsewhere/x.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return Place("data set", "DATASET_ROOTS", [tmp_path / "datasets", tmp_path / "more"])


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("chats.jsonl", "chats.jsonl"),
        ("datasets/chats.jsonl", "chats.jsonl"),
        ("./more/rows.csv", "rows.csv"),
        ("owner/name", "owner/name"),
        ("s3://bucket/key", "s3://bucket/key"),
    ],
)
def test_a_path_is_named_as_the_worker_finds_it(place: Place, typed: str, named: str) -> None:
    assert named_for_worker(typed, place) == named


def test_a_file_behind_another_of_its_name_is_named_whole(place: Place, tmp_path: Path) -> None:
    assert named_for_worker("more/chats.jsonl", place) == str(tmp_path / "more/chats.jsonl")


@pytest.mark.parametrize(
    "typed", ["elsewhere/x.jsonl", "{there}/elsewhere/x.jsonl", "../elsewhere/x.jsonl"]
)
def test_what_lies_outside_is_refused_with_the_setting(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    if typed.startswith(".."):
        monkeypatch.chdir(tmp_path / "more")
    with pytest.raises(PathRefused, match=r"x\.jsonl' lies outside .*DATASET_ROOTS"):
        named_for_worker(typed.format(there=tmp_path), place)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("chat.jsonl", r"'chat\.jsonl'.*Did you mean 'chats\.jsonl'"),
        *(
            (name, "No such data set")
            for name in ("mine.jsonl", "./datasets/none.jsonl", "datasets/none.jsonl")
        ),
        ("/nowhere/x", "No such data set"),
        ("~/x", "No such data set"),
        ("/nowhere/hats.jsonl", "Did you mean 'chats.jsonl'"),
        ("/nowhere/at.jsonl", "Check the path"),
    ],
)
def test_what_is_neither_here_nor_at_the_hub_is_refused(place: Place, name: str, said: str) -> None:
    with pytest.raises(PathRefused, match=said):
        refuse_missing(name, replace(place, bare_at_hub="chat" in name))


@pytest.mark.parametrize("name", ["chats.jsonl", "owner/chat.jsonl", "gpt2", "hf://a/b"])
def test_what_may_be_there_passes(place: Place, name: str) -> None:
    refuse_missing(name, replace(place, bare_at_hub=True))


def test_a_link_that_leads_out_of_the_roots_is_refused_as_what_lies_outside(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "datasets/linked.jsonl").symlink_to(tmp_path / "elsewhere/x.jsonl")
    with pytest.raises(PathRefused, match=r"'linked\.jsonl' lies outside .*DATASET_ROOTS"):
        named_for_worker("linked.jsonl", place)


@pytest.mark.parametrize("typed", ["~no-such-user/x.jsonl", "x" * 5000])
def test_what_cannot_be_looked_at_is_refused(place: Place, typed: str) -> None:
    with pytest.raises(PathRefused, match=r"data set, .*, cannot be looked at: "):
        named_for_worker(typed, place)


def test_sizes_in_names_of_models_are_no_suffixes(tmp_path: Path) -> None:
    for name in ("Qwen3-0.6B", "Qwen3-0.5B"):
        (tmp_path / name).mkdir()
    models = Place("model", "MODEL_ROOTS", [tmp_path], bare_at_hub=True)
    for asked, meant in (("Qwen3-0.6b", "Qwen3-0.6B"), ("Qwen3-0.5b", "Qwen3-0.5B")):
        with pytest.raises(PathRefused, match=f"Did you mean '{meant}'"):
            refuse_missing(asked, models)
