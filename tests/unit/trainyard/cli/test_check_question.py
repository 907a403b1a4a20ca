"""The question that the demo asks: of the first row of any data set."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from trainyard.cli.check_dataset import first_question, question_in


@pytest.mark.parametrize(
    ("segments", "question"),
    [
        ([("Capital of Italy?", False), ("Rome", True)], "Capital of Italy?"),
        (
            [
                *(("system: ", False), ("Be brief.", False), ("\n", False), ("user: ", False)),
                *(("Hi", False), ("\n", False), ("assistant: ", False), ("Hello", True)),
            ],
            "Hi",
        ),
        ([("All of it is trained on.", True)], None),
        ([], None),
    ],
)
def test_what_stands_before_the_answer(
    segments: list[tuple[str, bool]], question: str | None
) -> None:
    assert question_in(segments) == question


def test_any_format_with_any_columns(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    with file.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([["Question", "R\u00e9ponse"], ["2 + 2", "4"], ["3 + 3", "6"]])
    columns = {"prompt": "Question", "answer": "R\u00e9ponse"}
    assert first_question(file, columns, tmp_path) == "2 + 2"
