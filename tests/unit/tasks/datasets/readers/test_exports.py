"""Files as Excel, Spark, pandas and the clients of APIs write them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tasks.datasets.parts import open_parts
from tasks.datasets.readers.problems import UnreadableRows
from tasks.errors import DatasetError
from tests.support.data_files import read_rows, write

QA = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(1, 4)]
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
SHAREGPT = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Rows of a file with this name and text."""

    def rows(name: str, text: str, encoding: str = "utf-8", **options: Any) -> list[dict[str, Any]]:
        return read_rows(write(tmp_path / name, text, encoding), tmp_path / "cache", **options)

    return rows


# ---------------------------------------------------------------- Excel


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.csv", "question,answer,,\r\nWhat is 1 + 1?,2,,\r\n", "utf-8"),
        ("a.csv", "question,answer, \r\nWhat is 1 + 1?,2,\r\n", "utf-8-sig"),
        ("a.csv", "question,answer,,\r\nWhat is 1 + 1?,2\r\n", "utf-8"),
        ("a.csv", ",,\r\n,,\r\nquestion,answer,\r\nWhat is 1 + 1?,2,\r\n", "utf-8"),
        ("a.csv", "sep=;\r\nquestion;answer\r\nWhat is 1 + 1?;2\r\n", "utf-8"),
        ("a.csv", "sep=,\nquestion,answer\nWhat is 1 + 1?,2\n", "utf-8-sig"),
        ("a.csv", '"sep=\t"\r\nquestion\tanswer\r\nWhat is 1 + 1?\t2\r\n', "utf-8"),
        ("a.txt", "question\tanswer\r\nWhat is 1 + 1?\t2\r\n", "utf-16"),
        ("a.txt", "question\tanswer\r\nWhat is 1 + 1?\t2\r\n", "cp1252"),
        ("a.txt", "Question,Answer\nWhat is 1 + 1?,2\n", "utf-8"),
        ("a.xls", "question\tanswer\nWhat is 1 + 1?\t2\n", "utf-8"),
    ],
)
def test_a_table_that_excel_exports_is_read(read: Any, name: str, text: str, encoding: str) -> None:
    [row] = read(name, text, encoding)
    assert {key.lower(): value for key, value in row.items()} == QA[0]


def test_unicode_text_may_have_any_columns(read: Any) -> None:
    assert read("a.txt", "Frage\tAntwort\r\nWas?\tJa.\r\n", "utf-16") == [
        {"Frage": "Was?", "Antwort": "Ja."}
    ]


def test_a_value_without_a_column_is_named(read: Any) -> None:
    text = "question,answer,,\na,b,,\nc,d,stray,\n"
    with pytest.raises(UnreadableRows, match=r"line 3 .*value in a column without a name"):
        read("a.csv", text)
    assert read("a.csv", text, skip_bad_rows=True) == [{"question": "a", "answer": "b"}]


def test_columns_without_a_name_are_named(read: Any) -> None:
    with pytest.raises(DatasetError, match="several columns without a name"):
        read("a.csv", ",,answer\n1,2,3\n")


# ---------------------------------------------------------------- one bad row


@pytest.mark.parametrize(
    ("name", "text", "line", "reason"),
    [
        ("a.csv", "q,a\n1,2\nq,a\n3,4\n", 3, "repeats the header"),
        ("a.csv", "q,a\n1,2\n3\x00,x\n3,4\n", 3, "NUL"),
        ("a.tsv", '"q"\ta\n1\t2\n"q"\t a\n3\t4\n', 3, "repeats the header"),
        ("a.txt", "one\ntwo \x00\nthree\n", 2, "NUL"),
        ("a.txt", "one\n\na page\x00 of a PDF\n\nthree\n", 3, "NUL"),
        ("a.jsonl", '{"a": 1}\n{"a": "\x00"}\n{"a": 3}\n', 2, "no JSON"),
        ("a.jsonl", '{"a": 1}\n{"a": 3}\n' + "\x00" * 4096, 3, "no JSON"),
    ],
)
def test_one_bad_row_is_named_and_can_be_left_out(
    read: Any, name: str, text: str, line: int, reason: str
) -> None:
    with pytest.raises(UnreadableRows, match=f"1 of 3 .*line {line} .*{reason}"):
        read(name, text)
    assert len(read(name, text, skip_bad_rows=True)) == 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "a.json",
            '[{"a": "1"},\n{"a": "2"},\n{"a": broken},\n{"a": "4"}]\n',
            "3 .*up to line 4, cannot be read",
        ),
        ("a.json", '[{"a": "1"},\n{"a": "2"},\n]', "3 .*up to line 3, cannot be read"),
        ("a.json", '[{"a": "1"},\n{"a": "2"},\n{"a": "3', "3 .*up to line 3, cannot be read"),
        ("a.json", '{\n"a": "1"}\n{"a": "2"}\n{"a"', "4 .*cut off"),
        ("a.json", '[{"a": "1"},{"a": "2"}]\n more', "2 .*up to line 2, cannot be read"),
        ("a.csv", 'a\n1\n2\n"3\n4\n', "4 .*never closed, so that lines 4 to 5 are one value"),
    ],
)
@pytest.mark.parametrize("skip_bad_rows", [False, True])
def test_a_fault_behind_which_rows_cannot_be_told_is_no_row_that_is_left_out(
    read: Any, name: str, text: str, said: str, skip_bad_rows: bool
) -> None:
    with pytest.raises(DatasetError, match=f"^Line {said}") as refused:
        read(name, text, skip_bad_rows=skip_bad_rows)
    assert "config.data.skip_bad_rows does not get past it" in refused.value.mend


def test_the_last_line_of_a_large_document_that_breaks_off_is_counted(read: Any) -> None:
    rows = ['{"a": "%s"}' % ("x" * 1000)] * 10_000
    text = "[\n" + ",\n".join([*rows[:5], "broken", *rows]) + "\n]\n"
    with pytest.raises(DatasetError, match=r"^Line 7 .*up to line 10008, cannot be read"):
        read("a.json", text)


def test_lines_that_a_quote_may_have_swallowed_are_counted_each(read: Any) -> None:
    text = 'q,a\n1,2\n3,"4\n5,6\n7,8\n9,"10, 11"\n12,13\n'
    with pytest.raises(UnreadableRows, match=r"4 of 6 .*line 3 .*up to line 6: each is counted"):
        read("a.csv", text)
    assert [row["q"] for row in read("a.csv", text, skip_bad_rows=True)] == ["1", "12"]


# ---------------------------------------------------------------- JSON by its shape


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.md", "a.tsv", "a"])
@pytest.mark.parametrize("indent", [None, 1])
def test_json_is_json_whatever_it_is_called(read: Any, name: str, indent: int | None) -> None:
    assert read(name, json.dumps(QA, indent=indent)) == QA
    assert read(name, json.dumps({"data": QA}, indent=indent)) == QA
    assert read(name, "\n".join(map(json.dumps, QA))) == QA


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
@pytest.mark.parametrize("text", ['[{"text": "a"}, {"text": "b"', '{"text": "a"}\n{"text": "b'])
def test_broken_json_is_no_text(read: Any, name: str, text: str) -> None:
    with pytest.raises(DatasetError, match="no JSON"):
        read(name, text)


@pytest.mark.parametrize("chat", [CHAT, SHAREGPT])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.txt", "a"])
def test_bare_lists_of_messages_are_conversations(read: Any, name: str, chat: Any) -> None:
    row = {"messages": chat}
    assert read(name, f"{json.dumps(chat)}\n" * 3) == [row] * 3
    assert read(name, json.dumps(chat)) == [row]
    assert read(name, json.dumps(chat, indent=1)) == [row]
    assert read(name, json.dumps([chat, chat])) == [row] * 2
    assert read(name, json.dumps([chat, chat], indent=1)) == [row] * 2


TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT, "functions": [{"name": "x"}]},
        {"functions": [{"name": "x"}], "messages": CHAT},
        {"tools": TOOLS, "conversations": SHAREGPT},
        {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": CHAT[1:]},
        {"dialog": CHAT, "id": 1},
        {"conversations": [{"from": "human", "text": "a"}, {"from": "gpt", "text": "b"}]},
        {"question": "a", "answer": "b", "sources": [{"url": "x"}]},
        {"sources": [{"url": "x"}], "question": "a", "answer": "b"},
        {"text": "a", "entities": [{"start": 1}]},
        {"frage": "a", "antwort": "b", "quellen": [{"url": "x"}]},
        {"instruction": "a", "output": "b", "history": [{"x": "y"}]},
        {"text": "only"},
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("indent", [None, 1])
def test_one_row_alone_is_a_row(read: Any, name: str, row: Any, indent: int | None) -> None:
    assert read(name, json.dumps(row, indent=indent)) == [row]


@pytest.mark.parametrize(
    "wrapped",
    [
        {"data": QA},
        {"version": "1", "name": "x", "data": QA},
        {"version": "1", "name": "x", "eintraege": QA},
        {"my rows": QA, "description": "x", "licence": "y"},
        {"licences": [{"id": 1}], "annotations": QA},
        {"conversations": [{"messages": CHAT}]},
        {"data": [{"frage": "a", "antwort": "b"}], "version": "1", "name": "x"},
        {"eintraege": [{"frage": "a", "antwort": "b"}]},
    ],
)
def test_a_list_of_rows_is_taken_out_of_its_wrapping(read: Any, wrapped: dict[str, Any]) -> None:
    lists = [value for value in wrapped.values() if isinstance(value, list)]
    assert read("a.json", json.dumps(wrapped)) == lists[-1]


# ---------------------------------------------------------------- Spark and pandas


def parquet(path: Path, table: pyarrow.Table) -> Path:
    pyarrow.parquet.write_table(table, path)
    return path


@pytest.mark.parametrize(
    "kind", [pyarrow.binary(), pyarrow.large_binary(), pyarrow.dictionary("int32", "binary")]
)
def test_bytes_that_are_utf_8_are_text(tmp_path: Path, kind: pyarrow.DataType) -> None:
    table = pyarrow.table({"question": ["ü?".encode(), None], "answer": [b"2", b"3"]})
    table = table.set_column(0, "question", table.column(0).cast(kind))
    path = parquet(tmp_path / "a.parquet", table)
    assert read_rows(path, tmp_path) == [
        {"question": "ü?", "answer": "2"},
        {"question": None, "answer": "3"},
    ]


def test_messages_as_maps_are_messages(tmp_path: Path) -> None:
    kind = pyarrow.list_(pyarrow.map_(pyarrow.string(), pyarrow.string()))
    messages = pyarrow.array([[[*message.items()] for message in CHAT], None], kind)
    path = parquet(tmp_path / "a.parquet", pyarrow.table({"messages": messages}))
    assert read_rows(path, tmp_path) == [{"messages": CHAT}, {"messages": None}]


def test_shards_may_differ_in_any_column(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    when = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
    for number, value in enumerate((when, "yesterday", b"\xff\xfe", 3, {"a": 1}, [when])):
        table = pyarrow.table({"text": [str(number)], "when": [value]})
        parquet(tmp_path / f"set/{number}.parquet", table)
    rows = read_rows(tmp_path / "set", tmp_path / "cache")
    assert [row["text"] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert [row["when"] for row in rows] == [
        *("2020-01-02 00:00:00+00:00", "yesterday", {"bytes": None}, 3, {"a": 1}),
        ["2020-01-02 00:00:00+00:00"],
    ]


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (pyarrow.timestamp("us"), 2**62),
        (pyarrow.date32(), 2**31 - 1),
        (pyarrow.timestamp("s", "Nowhere/Town"), 1),
    ],
)
def test_a_value_that_python_has_none_for_breaks_nothing(
    tmp_path: Path, kind: pyarrow.DataType, raw: int
) -> None:
    width = pyarrow.int32() if kind == pyarrow.date32() else pyarrow.int64()
    when = pyarrow.array([raw], width).cast(kind)
    path = tmp_path / "a.arrow"
    table = pyarrow.table({"text": ["a"], "when": when})
    with pyarrow.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    assert read_rows(path, tmp_path) == [{"text": "a", "when": str(kind).encode()}]


def test_text_that_is_no_utf_8_in_parquet_is_no_text(tmp_path: Path) -> None:
    damaged = pyarrow.Array.from_buffers(
        pyarrow.string(),
        2,
        [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"a\xff")],
    )
    path = parquet(tmp_path / "a.parquet", pyarrow.table({"text": damaged}))
    assert read_rows(path, tmp_path) == [{"text": "a"}, {"text": b"string"}]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_parquet_file_is_damaged(tmp_path: Path, share: float) -> None:
    path = parquet(tmp_path / "a.parquet", pyarrow.table({"text": [str(n) for n in range(999)]}))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DatasetError, match="damaged Parquet"):
        open_parts(path, tmp_path / "cache")
