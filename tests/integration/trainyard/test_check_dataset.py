"""The command ``trainyard check-dataset``, as a person and as a program runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import REPOSITORY
from tests.support.training import write_jsonl

QA = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}"} for n in range(9)]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder that is none of DATASET_ROOTS."""
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def check_dataset(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainyard.cli.main", "check-dataset", *arguments],
        cwd=here,
        env={
            **os.environ,
            "TRAINYARD_HOME": str(here / "var"),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONIOENCODING": "utf-8",
        },
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


def as_json(here: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = check_dataset(here, *arguments, "--json")
    return done.returncode, json.loads(done.stdout)


def test_a_usable_data_set_ends_with_0(here: Path) -> None:
    write_jsonl(here / "a.jsonl", QA)
    done = check_dataset(here, "a.jsonl", "--train-split", "0.8")
    assert (done.returncode, done.stderr) == (0, "")
    assert "9, read as question/answer" in done.stdout
    assert "train 7, eval 2" in done.stdout
    assert "⟦" in done.stdout
    assert done.stdout.splitlines()[-1] == "Usable for sft"


def test_warnings_end_with_1_and_bad_rows_with_2(here: Path) -> None:
    write_jsonl(here / "a.jsonl", [*QA, QA[0]])
    code, found = as_json(here, "a.jsonl")
    assert (code, found["rows"], found["duplicates"], found["problems"]) == (1, 10, 1, [])
    write_jsonl(here / "b.jsonl", [*QA, {"question": "?", "answer": ""}])
    code, found = as_json(here, "b.jsonl")
    assert code == 2
    assert (found["rows"], found["shape"], found["splits"]["train"]) == (10, "question/answer", 9)
    [problem] = found["problems"]
    assert (problem["line"], problem["reason"]) == (10, "'answer' is empty")


def test_a_subset_and_a_split_can_be_chosen(here: Path) -> None:
    for subset in ("main", "socratic"):
        (here / "set" / subset).mkdir(parents=True)
        write_jsonl(here / "set" / subset / "train_a.jsonl", QA)
        write_jsonl(here / "set" / subset / "train_b.jsonl", QA[:3])
    code, found = as_json(here, "set")
    assert (code, "train_a, train_b" in found["error"]) == (2, True)
    code, found = as_json(here, "set", "--subset", "main", "--split", "train_b")
    assert (code, found["error"]) == (0, None)
    assert found["files"] == [{"file": "main/train_b.jsonl", "split": "train", "rows": 3}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.jsonl",), "nowhere.jsonl"),
        (("a.jsonl", "--max-length", "2"), "training.max_length"),
    ],
)
def test_whatever_is_wrong_is_one_json_object(
    here: Path, arguments: tuple[str, ...], said: str
) -> None:
    write_jsonl(here / "a.jsonl", QA)
    code, found = as_json(here, *arguments)
    assert code == 2
    assert said in found["error"]
    assert {"rows", "shape", "splits", "problems"} <= set(found)


@pytest.mark.parametrize("name", ["empty.jsonl", "."])
def test_the_check_does_not_advise_itself(here: Path, name: str) -> None:
    (here / "empty.jsonl").touch()
    done = check_dataset(here, name)
    assert done.returncode == 2
    assert "check-dataset" not in done.stdout + done.stderr
    assert "empty" in done.stdout
