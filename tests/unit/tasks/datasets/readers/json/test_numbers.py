"""Numbers as answers: the text as it stands in the file."""

from __future__ import annotations

from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from tasks.datasets.shapes.format import format_row
from tasks.datasets.shapes.shape import recognise_shape
from tests.support.data_files import read_rows, write

SPELLINGS = ["1.50", "100.0", "1e5", "1E-2", "-0.0", "0.1", "7", "3.14159265358979323846264338"]
SPELLINGS += ["123456789012345678901234567890", "-12345678901234567890", "1.0e+2"]
PAIR = recognise_shape(["question", "answer"])


@pytest.mark.parametrize(
    ("name", "row", "around"),
    [
        ("a.jsonl", '{"question": "What, 1.50?", "answer": %s}', "%s\n"),
        ("a.json", '{"answer": %s, "question": "What, 1.50?"}', "[%s]"),
        ("b.json", '{"question": "What, 1.50?", "answer":\n%s}', '{"data": [%s]}'),
    ],
)
@pytest.mark.parametrize("more", [0, 3])
def test_an_answer_keeps_its_spelling(
    tmp_path: Path, name: str, row: str, around: str, more: int
) -> None:
    said = [*SPELLINGS, *['"text"'] * more]  # a column of numbers, and one of numbers and texts
    between = "\n" if name == "a.jsonl" else ", "
    text = around % between.join(row % spelling for spelling in said)
    rows = read_rows(write(tmp_path / name, text), tmp_path / "cache")
    answers = [format_row(read, PAIR)["messages"] for read in rows]
    for spelling, answer in zip(said, answers, strict=True):
        assert '"content": "{}"'.format(spelling.strip('"')) in answer


def test_a_message_keeps_its_spelling(tmp_path: Path) -> None:
    line = (
        '{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": 1.50}]}'
    )
    [row] = read_rows(write(tmp_path / "a.jsonl", line), tmp_path / "cache")
    assert '"content": "1.50"' in format_row(row, recognise_shape(["messages"]))["messages"]


def test_a_number_of_32_bits_is_the_one_that_was_written(tmp_path: Path) -> None:
    answers = pyarrow.array(numpy.array([0.1, 2.5, 16777216], numpy.float32))
    table = pyarrow.table({"question": ["a", "b", "c"], "answer": answers})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    rows = read_rows(tmp_path / "a.parquet", tmp_path / "cache")
    assert [str(row["answer"]) for row in rows] == ["0.1", "2.5", "16777216.0"]
