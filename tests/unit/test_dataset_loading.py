"""Format and shape detection, and the traps that the libraries read silently wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest

from backend_bridge.contract import DataConfig
from tasks.datasets.format import RowProblem, format_row
from tasks.datasets.locate import locate_dataset, resolve_beneath
from tasks.datasets.prepare import open_parts, shape_of, store_rows
from tasks.datasets.read import read_rows
from tasks.datasets.recognise import Format, recognise_format, recognise_shape
from tasks.datasets.split import SplitPlan, split_rows
from tasks.errors import ConfigurationError, DatasetError

ROWS = [
    {"question": "What is 1 + 1?", "answer": '2, of course; or: "two"'},
    {"question": "Name a\nline break", "answer": "None"},
    {"question": "Grüße, 你好", "answer": "NA"},
]
SHARED_DATA = Path(__file__).parents[2].parent / "shared" / "data"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path, recognise_format(path))]


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    return pandas.DataFrame(rows).to_csv(index=False, sep=delimiter)


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": 2}\n', Format("jsonl")),
        ("lines.json", '{"a": 1}\n{"a": 2}\n', Format("jsonl")),
        ("array.jsonl", '[{"a": 1}]', Format("json")),
        ("a.json", '[\n {"a": 1}\n]', Format("json")),
        ("object.json", '{\n "data": [{"a": 1}]\n}', Format("json")),
        ("a.csv", "a,b\n1,2\n", Format("csv", ",")),
        ("semicolon.csv", "a;b\n1,5;2\n", Format("csv", ";")),
        ("a.tsv", "a\tb\n1\t2\n", Format("csv", "\t")),
        ("pipe.data", "a|b\n1|2\n3|4\n", Format("csv", "|")),
        ("one_column.csv", "text\nhello\n", Format("csv", ",")),
        ("a.txt", "Hello, world.\nAgain, world.\n", Format("text")),
        ("unknown", "no structure at all\n", Format("text")),
    ],
)
def test_format_is_recognised_from_the_content(
    tmp_path: Path, name: str, text: str, expected: Format
) -> None:
    assert recognise_format(write(tmp_path / name, text)) == expected


def test_byte_order_marks_decide_the_encoding(tmp_path: Path) -> None:
    assert recognise_format(write(tmp_path / "a.csv", "a,b\n1,2\n", "utf-8-sig")).encoding == (
        "utf-8-sig"
    )
    path = write(tmp_path / "b.csv", "a,b\n1,ü\n", "utf-16")
    assert recognise_format(path) == Format("csv", ",", "utf-16")
    assert rows_of(path) == [{"a": "1", "b": "ü"}]


@pytest.mark.parametrize("text", ["", " \n\n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError, match="is empty"):
        recognise_format(write(tmp_path / "a.jsonl", text))


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="save_to_disk"):
        recognise_format(tmp_path)


# ---------------------------------------------------------------- the same rows, every format


def saved_as(path: Path, how: str) -> Path:
    match how:
        case "jsonl":
            return write(path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
        case "json":
            return write(path / "a.json", json.dumps(ROWS, indent=1))
        case "object":
            return write(path / "a.json", json.dumps({"version": 1, "rows": ROWS}))
        case "csv" | "tsv":
            return write(path / f"a.{how}", as_csv(ROWS, "," if how == "csv" else "\t"))
        case "parquet":
            pandas.DataFrame(ROWS).to_parquet(path / "a.parquet")
            return path / "a.parquet"
    datasets.Dataset.from_list(ROWS).save_to_disk(path / "saved")
    return path / "saved"


@pytest.fixture(autouse=True)
def no_progress_bars() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.mark.parametrize("how", ["jsonl", "json", "object", "csv", "tsv", "parquet", "saved"])
def test_every_format_gives_the_same_rows(tmp_path: Path, how: str) -> None:
    [part] = open_parts(saved_as(tmp_path, how), tmp_path / "cache")
    assert [row for _, row in part.rows()] == ROWS
    stored = store_rows(part, shape_of(part, DataConfig()), tmp_path / "cache")
    answers = [json.loads(text)[-1]["content"] for text in stored["messages"]]
    assert answers == [row["answer"] for row in ROWS], "None and NA stay text"
    assert stored.cache_files, "the rows are memory-mapped from a file"


def test_the_splits_of_a_saved_data_set_are_found(tmp_path: Path) -> None:
    both = datasets.DatasetDict(
        {
            "test": datasets.Dataset.from_list(ROWS[:1]),
            "train": datasets.Dataset.from_list(ROWS[1:]),
        }
    )
    both.save_to_disk(tmp_path / "saved")
    train, evaluation = open_parts(tmp_path / "saved", tmp_path / "cache")
    assert [row for _, row in train.rows()] == ROWS[1:]
    assert [row for _, row in evaluation.rows()] == ROWS[:1]


def test_text_is_read_by_paragraph_where_blank_lines_part_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo\n\n\nthree\n")
    assert list(read_rows(path, recognise_format(path))) == [
        (1, {"text": "one\ntwo"}),
        (5, {"text": "three"}),
    ]
    path = write(tmp_path / "b.txt", "one\ntwo\n")
    assert [row["text"] for row in rows_of(path)] == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": "b"\n{"text": "c"}\n', "Line 2 .* is no JSON"),
        ("a.jsonl", '{"text": "a"}\n[1]\n', "Line 2 .* holds list"),
        ("a.json", '[{"text": "a"}, {"text"', "is no JSON"),
        ("a.csv", "q,a\n1,2\n3,4,5\n", "line 3"),
        ("a.csv", "q,a\n1,2,3\n4,5,6\n", "line 2|fields"),
        ("a.csv", "q,a\n1,2\n3\n", "line 3 .* 1 fields where the header has 2"),
        ("a.csv", 'q,a\n1,"2\n3,4\n', "cannot be read as CSV"),
        ("a.csv", "q,q\n1,2\n", "more than once: q"),
    ],
)
def test_a_broken_file_is_an_error_that_names_the_place(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    with pytest.raises(DatasetError, match=said):
        rows_of(write(tmp_path / name, text))


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "Grüße"}\n{"text": "b"}\n', "latin-1")
    with pytest.raises(DatasetError, match="is not UTF-8 text"):
        rows_of(path)


@pytest.mark.parametrize(("name", "text"), [("a.csv", "question,answer\n"), ("a.json", "[]")])
def test_a_data_set_without_rows_is_refused(tmp_path: Path, name: str, text: str) -> None:
    [part] = open_parts(write(tmp_path / name, text), tmp_path / "cache")
    with pytest.raises(DatasetError, match="no rows"):
        shape_of(part, DataConfig())


def test_rows_that_cannot_be_trained_on_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    rows = [{"question": "a", "answer": "b"}, {"question": "c", "answer": None}, {"question": "d"}]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    [part] = open_parts(path, tmp_path / "cache")
    with pytest.raises(DatasetError, match=r"2 of 3 rows .* first is row 2: 'answer' is missing"):
        store_rows(part, shape_of(part, DataConfig()), tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("*.arrow")) == [], "nothing half-written is kept"


def test_a_rewrite_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "old"}\n{"text": "row"}\n')
    before = path.stat()

    def stored() -> list[str]:
        [part] = open_parts(path, tmp_path / "cache")
        return list(store_rows(part, shape_of(part, DataConfig()), tmp_path / "cache")["text"])

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
        (["messages", "text"], "messages"),
        (["conversations"], "messages"),
    ],
)
def test_shapes_are_recognised_from_the_columns(columns: list[str], shape: str) -> None:
    assert recognise_shape(columns).name == shape


def test_no_usable_column_names_the_columns_and_what_is_needed() -> None:
    with pytest.raises(DatasetError, match="'price', 'size'") as caught:
        recognise_shape(["price", "size"])
    assert "prompt and completion" in caught.value.hint


def test_columns_can_be_told() -> None:
    shape = recognise_shape(["q", "a"], told={"question": "q", "answer": "a"})
    assert shape.columns == {"instruction": "q", "answer": "a"}
    assert recognise_shape(["body", "text"], text_field="body").columns == {"text": "body"}
    with pytest.raises(DatasetError, match="'nope'"):
        recognise_shape(["q", "a"], told={"question": "q", "answer": "nope"})


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


# ---------------------------------------------------------------- places


def test_only_the_data_set_roots_can_be_read(tmp_path: Path) -> None:
    root, other, outside = tmp_path / "one", tmp_path / "two", tmp_path / "outside"
    for folder in (root, other, outside):
        folder.mkdir()
    secret = write(outside / "secret.jsonl", "{}")
    inside = write(other / "a.jsonl", "{}")
    roots = [str(root), str(other)]
    assert resolve_beneath("a.jsonl", roots) == inside
    assert resolve_beneath(str(inside), roots) == inside
    (root / "link.jsonl").symlink_to(secret)
    for path in ("link.jsonl", "../outside/secret.jsonl", str(secret)):
        with pytest.raises(DatasetError, match="outside of the folders"):
            resolve_beneath(path, roots)
    with pytest.raises(DatasetError, match=r"No such data set: 'missing\.jsonl'"):
        resolve_beneath("missing.jsonl", roots)


def test_a_url_is_refused_and_its_password_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="URL") as caught:
        locate_dataset("https://me:hunter2@host/a.jsonl?token=x", None, [], tmp_path)
    assert "hunter2" not in str(caught.value)
    assert "token" not in str(caught.value)


def test_inline_content_is_kept_under_its_hash(tmp_path: Path) -> None:
    first = locate_dataset("", '{"text": "a"}', [], tmp_path)
    assert first == locate_dataset("", '{"text": "a"}', [], tmp_path)
    assert first != locate_dataset("", '{"text": "b"}', [], tmp_path)
    assert first.read_text() == '{"text": "a"}'


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
    assert len(store_rows(part, found, tmp_path)) == rows


def test_a_saved_folder_cannot_point_out_of_the_roots(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    datasets.Dataset.from_list([{"text": "secret"}]).save_to_disk(outside)
    datasets.Dataset.from_list([{"text": "fine"}]).save_to_disk(root / "saved")
    assert locate_dataset("saved", None, [str(root)], tmp_path) == (root / "saved").resolve()
    (shard,) = outside.glob("*.arrow")
    state = json.loads((root / "saved/state.json").read_text())
    state["_data_files"] = [{"filename": f"../../outside/{shard.name}"}]
    (root / "saved/state.json").write_text(json.dumps(state))
    with pytest.raises(DatasetError, match="outside of the folders"):
        locate_dataset("saved", None, [str(root)], tmp_path)


def test_a_link_inside_a_folder_cannot_point_out_of_the_roots(tmp_path: Path) -> None:
    (tmp_path / "root/folder").mkdir(parents=True)
    (tmp_path / "secret.arrow").write_text("x")
    (tmp_path / "root/folder/data.arrow").symlink_to(tmp_path / "secret.arrow")
    with pytest.raises(DatasetError, match="outside of the folders"):
        locate_dataset("folder", None, [str(tmp_path / "root")], tmp_path)


def test_a_pipe_is_no_data_set(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DatasetError, match="neither a file nor a folder"):
        locate_dataset("pipe.jsonl", None, [str(tmp_path)], tmp_path)
