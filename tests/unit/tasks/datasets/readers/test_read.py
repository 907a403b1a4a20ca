"""Files of every format become the same rows, and what cannot be read is named by its line."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow
import pyarrow.feather
import pytest

from tasks.datasets.parts import Part, open_parts
from tasks.datasets.readers.problems import UnreadableRows
from tasks.datasets.readers.recognise import Format, recognise_format
from tasks.errors import DatasetError
from tests.support.data_files import read_rows, write

ROWS = [
    {"question": "What is 1 + 1?", "answer": '2, of course; or: "two"'},
    {"question": "Name a\nline break", "answer": "None"},
    {"question": "Grüße, 你好 🙂", "answer": "NA"},
    {"question": "", "answer": "null"},
    {"question": "2020-01-01 00:00:00", "answer": "007"},
]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Read a source's train rows through a cache of its own."""
    return lambda path, **options: read_rows(path, tmp_path / "cache", **options)


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    return pandas.DataFrame(rows).to_csv(index=False, sep=delimiter)


def as_jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# ---------------------------------------------------------------- what a file is


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


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
@pytest.mark.parametrize("text", ["", " \n\n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(DatasetError, match="is empty"):
        recognise_format(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x04\x95\x10\x00", "pickle, which is never opened"),
        (b"%PDF-1.7", "PDF"),
        (b"\x00\x00\x01\x02\x03\x07" * 50, "binary file of no known format"),
        (b"\n\x05hello\x12\x07goodbye\n\x03abc\x12\x02de" * 30, "binary file of no known format"),
        (b"a" * 257 + b"ustar\x0000", "tar archive"),
    ],
)
def test_what_is_no_data_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DatasetError, match=said):
        recognise_format(tmp_path / "a.jsonl")


# ---------------------------------------------------------------- the same rows, every format


def feather(path: Path) -> None:
    pyarrow.feather.write_feather(pyarrow.Table.from_pylist(ROWS), path)


def arrow_stream(path: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    with pyarrow.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def saved(path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(path)


def shards(path: Path) -> None:
    path.mkdir()
    write(path / "data-00000-of-00003.jsonl", as_jsonl(ROWS[:2]))
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(ROWS[2:3]), path / "data-00001-of-00003.parquet"
    )
    write(path / "data-00002-of-00003.csv", as_csv(ROWS[3:]))
    write(path / "README.md", "About the data.")


FORMATS: dict[str, Callable[[Path], Any]] = {
    "a.jsonl": lambda path: write(path, as_jsonl(ROWS)),
    "lines.json": lambda path: write(path, as_jsonl(ROWS)),
    "array.json": lambda path: write(path, json.dumps(ROWS)),
    "array.jsonl": lambda path: write(path, json.dumps(ROWS, indent=2, ensure_ascii=False)),
    "object.json": lambda path: write(path, json.dumps({"version": 1, "data": ROWS, "n": [1]})),
    "objects.json": lambda path: write(path, "\n".join(json.dumps(r, indent=1) for r in ROWS)),
    "a.csv": lambda path: write(path, as_csv(ROWS)),
    "semicolon.csv": lambda path: write(path, as_csv(ROWS, ";")),
    "pipes.csv": lambda path: write(path, as_csv(ROWS, "|")),
    "a.tsv": lambda path: write(path, as_csv(ROWS, "\t")),
    "windows.csv": lambda path: write(path, as_csv(ROWS).replace("\n", "\r\n")),
    "no_final_newline.csv": lambda path: write(path, as_csv(ROWS).removesuffix("\n")),
    "mark.csv": lambda path: write(path, as_csv(ROWS), "utf-8-sig"),
    "mark.jsonl": lambda path: write(path, as_jsonl(ROWS), "utf-8-sig"),
    "mark.json": lambda path: write(path, json.dumps(ROWS), "utf-8-sig"),
    "utf16.csv": lambda path: write(path, as_csv(ROWS), "utf-16"),
    "utf16.jsonl": lambda path: write(path, as_jsonl(ROWS), "utf-16"),
    "utf16.json": lambda path: write(path, json.dumps(ROWS), "utf-16-be"),
    "utf16le.csv": lambda path: write(path, as_csv(ROWS), "utf-16-le"),
    "a.parquet": lambda path: pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path),
    "a.feather": feather,
    "stream.arrow": arrow_stream,
    "saved": saved,
    "shards": shards,
}


@pytest.fixture(autouse=True)
def no_progress_bars() -> Any:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def without_line_ends(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value.replace("\r\n", "\n") for name, value in row.items()} for row in rows]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, read: Any, name: str) -> None:
    FORMATS[name](tmp_path / name)
    assert without_line_ends(read(tmp_path / name)) == ROWS
    assert read(tmp_path / name) == read(tmp_path / name), "from the cache"


def zstd(data: bytes) -> bytes:
    return bytes(pyarrow.Codec("zstd").compress(data, asbytes=True))


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": lambda data: zstd(data[:9]) + zstd(data[9:]),
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("suffix", [*COMPRESSED, ".zip"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "array.json", "a.parquet", "utf16.csv"])
def test_every_compression_gives_the_same_rows(
    tmp_path: Path, read: Any, name: str, suffix: str
) -> None:
    plain = tmp_path / "plain" / name
    plain.parent.mkdir()
    FORMATS[name](plain)
    packed = tmp_path / f"{name}{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(plain, name)
    else:
        packed.write_bytes(COMPRESSED[suffix](plain.read_bytes()))
    assert read(packed) == ROWS
    disguised = packed.rename(tmp_path / f"disguised-{name}")
    assert read(disguised) == ROWS, "the name does not tell that it is compressed"


def test_values_of_json_stay_what_they_are(tmp_path: Path, read: Any) -> None:
    rows = [
        {"a": 1, "messages": [{"role": "user", "content": "x"}]},
        {"a": 1.5, "b": True, "messages": [{"role": "tool", "arguments": {"y": None}}]},
        {"a": "text after numbers", "b": None},
        {"a": 12345678901234567890123, "late": "a key first seen here"},
        {"a": -9223372036854775809, "b": {"nested": [1, 2.0, "3"]}},
    ]
    columns = dict.fromkeys(("a", "messages", "b", "late"))
    for name, text in (("a.jsonl", as_jsonl(rows)), ("a.json", json.dumps(rows))):
        found = read(write(tmp_path / name, text))
        assert found == [columns | row for row in rows]
        assert type(found[0]["a"]) is int, "3 does not become 3.0 beside 3.5"


def test_a_column_may_change_late(tmp_path: Path, read: Any) -> None:
    """Blocks are of 4 MB: what the first did not have is not lost, nor turned into text."""
    rows: list[dict[str, Any]] = [{"text": "x" * 1000, "n": None} for _ in range(10_000)]
    rows += [{"text": 5, "n": 1, "late": "yes"}]
    for name, text in (("a.jsonl", as_jsonl(rows)), ("a.json", json.dumps(rows))):
        found = read(write(tmp_path / name, text))
        assert len(found) == len(rows)
        assert found[0] == {"text": "x" * 1000, "n": None, "late": None}
        assert found[-1] == {"text": 5, "n": 1, "late": "yes"}


def test_csv_values_stay_text_however_late_a_type_changes(tmp_path: Path, read: Any) -> None:
    lines = ["a,b,c", *(f"{n},{'x' * 500}," for n in range(20_000)), "not a number,NA,late"]
    found = read(write(tmp_path / "a.csv", "\n".join(lines)))
    assert (len(found), found[0]["a"], found[0]["c"]) == (20_001, "0", "")
    assert found[-1] == {"a": "not a number", "b": "NA", "c": "late"}


def test_latin_1_is_recognised(tmp_path: Path, read: Any) -> None:
    rows = [{"q": "Grüße aus Köln", "a": "déjà vu"}, {"q": "Straße", "a": "naïve"}]
    for encoding in ("latin-1", "cp1252"):
        write(tmp_path / "a.csv", as_csv(rows), encoding)
        assert read(tmp_path / "a.csv") == rows
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        assert read(write(tmp_path / "a.jsonl", text, encoding)) == rows
        array = json.dumps(rows, ensure_ascii=False)
        assert read(write(tmp_path / "a.json", array, encoding)) == rows
    late = "q,a\n" + "plain,text\n" * 100_000 + "Grüße,Köln\n"
    assert read(write(tmp_path / "late.csv", late, "latin-1"))[-1] == {"q": "Grüße", "a": "Köln"}
    quotes = write(tmp_path / "quotes.txt", "It’s “quoted” – once.\n", "cp1252")
    assert read(quotes) == [{"text": "It’s “quoted” – once."}]


@pytest.mark.parametrize("encoding", ["gbk", "shift-jis", "koi8-r", "cp1251"])
def test_an_encoding_that_would_be_a_guess_is_refused(
    tmp_path: Path, read: Any, encoding: str
) -> None:
    text = "Большой привет" if encoding in ("koi8-r", "cp1251") else "日本語東京都"
    with pytest.raises(DatasetError, match="neither UTF-8 nor Latin-1"):
        read(write(tmp_path / "a.jsonl", json.dumps({"text": text}, ensure_ascii=False), encoding))


def test_damaged_utf_8_is_a_problem_of_its_row(tmp_path: Path, read: Any) -> None:
    good = '{"text": "Grüße"}\n'.encode()
    (tmp_path / "a.jsonl").write_bytes(good * 5 + b'{"text": "\xff"}\n' + good)
    (tmp_path / "a.csv").write_bytes(b"a,b\n" + "ü,ö\n".encode() * 3 + b"\xff,x\n")
    for name, line in (("a.jsonl", 6), ("a.csv", 5)):
        with pytest.raises(UnreadableRows, match=f"line {line} .*no UTF-8") as caught:
            read(tmp_path / name)
        assert caught.value.count == 1
        assert len(read(tmp_path / name, skip_bad_rows=True)) == caught.value.readable
    (tmp_path / "b.csv").write_bytes(b"\xff,b\n" + "ü,ö\n".encode() * 3)
    with pytest.raises(DatasetError, match=r"header of 'b\.csv' .*no UTF-8"):
        read(tmp_path / "b.csv")


# ---------------------------------------------------------------- problems


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": "b"\n{"text": "c"}\n', "line 2 .*is no JSON"),
        ("a.jsonl", '{"text": "a"}\n{"text": "cut o', "line 2 .*is no JSON"),
        ("a.jsonl", '{"text": "a"}\n[1]\n', "line 2 .* holds list"),
        ("a.jsonl", '{"a": "x"}{"a": "y"}\n{"a": "z"}\n', "line 1 .*is no JSON"),
        ("a.jsonl", '{"a": NaN}\n{"a": 1}\n', "line 1 .*NaN is no JSON"),
        ("a.jsonl", '{"a": "\\ud800"}\n{"a": 1}\n', "line 1 .*half of a character"),
        ("a.jsonl", '{"a": 1}\n' + '{"a":' * 5000 + "1" + "}" * 5000 + "\n", "line 2 .*too deep"),
        ("a.json", '[{"text": "a"}, {"text"', "Line 1 .* is no JSON"),
        ("a.json", '[{"text": "a"},\n {"text": "b"}\n', "Line 3 .* is no JSON.*cut off"),
        ("a.json", '[{"text": "a"},\n {"text": "b" "c"}]\n', "Line 2 .* is no JSON"),
        ("a.json", '[{"text": "a"}] more', "more after the end"),
        ("a.json", '[{"text": "a"}, 5]', "line 1 .*holds int"),
        ("a.json", '{"train": [{"a": 1}], "test": [{"a": 2}]}', "several lists of rows"),
        ("a.json", '"text"', "neither an array nor an object"),
        ("a.csv", "q,a\n1,2\n3,4,5\n", "line 3 .*3 fields where the header has 2"),
        ("a.csv", "q,a\n1,2,3\n4,5,6\n", "line 2 .*3 fields where the header has 2"),
        ("a.csv", "q,a\n1,2\n3\n", "line 3 .*has 1 field where the header has 2"),
        ("a.csv", 'q,a\n1,"2\n3,4\n', "Line 2 .*is never closed, so that lines 2 to 3"),
        ("a.csv", 'q,a\n1,"2\n3,"4"\n5,6\n', r"2 of 3 rows .*line 2 .*up to line 3"),
        ("a.csv", 'q,a\n1,"2"x\n5,6\n', "line 2 .*expected after"),
        ("a.csv", "q,q\n1,2\n", "more than once: q"),
        ("a.parquet", "PAR1 and then nothing", "damaged Parquet"),
        ("a.arrow", "ARROW1 and then nothing", "damaged Arrow"),
    ],
)
def test_what_is_broken_is_named_by_its_place(
    tmp_path: Path, read: Any, name: str, text: str, said: str
) -> None:
    with pytest.raises(DatasetError, match=said) as caught:
        read(write(tmp_path / name, text))
    assert caught.value.mend
    assert not list((tmp_path / "cache").rglob("*.arrow")), "nothing half-read is kept"


def test_a_stream_behind_another_is_refused(tmp_path: Path, read: Any) -> None:
    arrow_stream(tmp_path / "a.arrow")
    (tmp_path / "a.arrow").write_bytes((tmp_path / "a.arrow").read_bytes() * 2)
    with pytest.raises(DatasetError, match="its stream ends before the file does"):
        read(tmp_path / "a.arrow", skip_bad_rows=True)


def test_bad_rows_can_be_left_out_and_are_counted(tmp_path: Path) -> None:
    text = "".join(f'{{"n": {n}}}\n' if n % 3 else "broken\n" for n in range(90))
    path = write(tmp_path / "a.jsonl", text)
    with pytest.raises(UnreadableRows, match="30 of 90 rows") as caught:
        open_parts(path, tmp_path)
    assert (caught.value.count, len(caught.value.problems)) == (30, 20)
    assert [problem.line for problem in caught.value.problems[:3]] == [1, 4, 7]
    [part] = open_parts(path, tmp_path, skip_bad_rows=True)
    assert (part.dropped, len(part), len(part.problems)) == (30, 60, 20)
    assert [row["n"] for _, row in part.rows()] == [n for n in range(90) if n % 3]
    assert part.place(1) == ("a.jsonl", 2, 1)


@pytest.mark.parametrize(("name", "text"), [("a.csv", "question,answer\n"), ("a.json", "[]")])
def test_a_file_without_rows_has_none(tmp_path: Path, name: str, text: str) -> None:
    [part] = open_parts(write(tmp_path / name, text), tmp_path / "cache")
    assert len(part) == 0


def places(part: Part) -> list[int | None]:
    return [part.place(number)[1] for number in range(1, len(part) + 1)]


@pytest.mark.parametrize("text", ["a\n{q}\n\n{q}\n{q}", "a\r\n{q}\r\n\r\n{q}\r\n{q}\r\n"])
def test_csv_rows_know_the_line_that_they_start_in(tmp_path: Path, text: str) -> None:
    quoted = '"two\n\nlines"'
    path = write(tmp_path / "a.csv", text.replace("{q}", quoted))
    [part] = open_parts(path, tmp_path / "cache")
    assert [row["a"] for _, row in part.rows()] == ["two\n\nlines"] * 3
    assert places(part) == [2, 6, 9]
    ragged = write(tmp_path / "b.csv", f"a,b\n1,{quoted}\n1\n")
    with pytest.raises(UnreadableRows, match=r"line 5 of 'b\.csv'"):
        open_parts(ragged, tmp_path / "cache")


@pytest.mark.parametrize("around", ["[\n%s]", '{"version":\n1, "data": [%s]}', "%s"])
def test_rows_of_a_json_document_know_the_line_that_they_start_in(
    tmp_path: Path, around: str
) -> None:
    rows = [f'{{"n":\n {n}}}' for n in range(1000)]
    text = around % ("\n" if around == "%s" else ",\n").join(rows)
    [part] = open_parts(write(tmp_path / "a.json", text), tmp_path / "cache")
    before = around.count("\n")
    assert places(part) == [before + 1 + 2 * n for n in range(1000)]


def test_rows_of_shards_know_their_file(tmp_path: Path) -> None:
    shards(tmp_path / "shards")
    [part] = open_parts(tmp_path / "shards", tmp_path / "cache")
    assert part.place(2) == ("data-00000-of-00003.jsonl", 2, 2)
    assert part.place(3) == ("data-00001-of-00003.parquet", None, 1)
    assert part.place(4) == ("data-00002-of-00003.csv", 2, 1)


def test_text_is_read_by_paragraph_where_blank_lines_part_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo\n\n\nthree\n")
    [part] = open_parts(path, tmp_path / "cache")
    assert list(part.rows()) == [(1, {"text": "one\ntwo"}), (2, {"text": "three"})]
    assert places(part) == [1, 5]
    assert part.continuous
    path = write(tmp_path / "b.txt", "one\ntwo\n\n")
    assert [row["text"] for row in read_rows(path, tmp_path)] == ["one", "two"]


# ---------------------------------------------------------------- splits and folders


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "validation.jsonl"),
        ("data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl"),
        ("train/part.jsonl", "dev/part.jsonl"),
        ("my_training.jsonl", "my_eval.jsonl"),
    ],
)
def test_splits_are_told_by_file_names(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, rows in zip(names, (ROWS[1:], ROWS[:1]), strict=True):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, as_jsonl(rows))
    train, evaluation = open_parts(tmp_path / "set", tmp_path / "cache")
    assert [row for _, row in train.rows()] == ROWS[1:]
    assert [row for _, row in evaluation.rows()] == ROWS[:1]


def test_the_splits_of_a_saved_data_set_are_found(tmp_path: Path) -> None:
    both = {"test": ROWS[:1], "train": ROWS[1:]}
    datasets.DatasetDict(
        {name: datasets.Dataset.from_list(rows) for name, rows in both.items()}
    ).save_to_disk(tmp_path / "saved")
    train, evaluation = open_parts(tmp_path / "saved", tmp_path / "cache")
    assert [row for _, row in train.rows()] == ROWS[1:]
    assert [row for _, row in evaluation.rows()] == ROWS[:1]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("test.jsonl", "validation.jsonl"), "none of them 'train'"),
        (("train.jsonl", "extra.jsonl"), "'extra.jsonl' is not"),
        (("notes.pdf",), "no file of data"),
    ],
)
def test_a_folder_that_cannot_be_understood_is_refused(
    tmp_path: Path, names: tuple[str, ...], said: str
) -> None:
    (tmp_path / "set").mkdir()
    for name in names:
        write(tmp_path / "set" / name, as_jsonl(ROWS))
    with pytest.raises(DatasetError, match=said):
        open_parts(tmp_path / "set", tmp_path / "cache")


def test_shards_that_disagree_on_a_column_keep_every_value(tmp_path: Path, read: Any) -> None:
    (tmp_path / "set").mkdir()
    pandas.DataFrame({"a": [1, 2]}).to_parquet(tmp_path / "set/0.parquet")
    pandas.DataFrame({"a": ["x"], "b": ["new"]}).to_parquet(tmp_path / "set/1.parquet")
    assert read(tmp_path / "set") == [
        {"a": 1, "b": None},
        {"a": 2, "b": None},
        {"a": "x", "b": "new"},
    ]


# ---------------------------------------------------------------- archives


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_an_archive_of_splits_is_a_folder_of_splits(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "a.zip",
        {"d/train.jsonl": as_jsonl(ROWS).encode(), "d/test.csv": as_csv(ROWS[:1]).encode()},
    )
    train, evaluation = open_parts(path, tmp_path / "cache")
    assert (len(train), len(evaluation)) == (5, 1)


@pytest.mark.parametrize("name", ["../out.jsonl", "/tmp/out.jsonl", "a/../../out.jsonl", "..\\o"])
def test_an_archive_cannot_reach_out_of_its_folder(tmp_path: Path, read: Any, name: str) -> None:
    path = zipped(tmp_path / "a.zip", {name: b'{"a": 1}'})
    with pytest.raises(DatasetError, match="reaches out of its folder"):
        read(path)


def test_an_archive_cannot_hold_a_link(tmp_path: Path, read: Any) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("a.jsonl")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DatasetError, match="no plain file"):
        read(tmp_path / "a.zip")


def test_an_encrypted_archive_is_refused(tmp_path: Path, read: Any) -> None:
    path = zipped(tmp_path / "a.zip", {"plain.txt": b"a", "a.jsonl": b'{"a": 1}'})
    content = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.rindex(magic) + flags] |= 1  # the last file's "encrypted"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"The archive 'a\.zip' is encrypted") as caught:
        read(path)
    assert caught.value.mend == "Write it without a password."
    assert not list((tmp_path / "cache" / "read").iterdir()), "nothing is left of it"


@pytest.mark.parametrize("suffix", [*COMPRESSED, ".zip"])
def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, suffix: str) -> None:
    bomb = b"\0" * 3_000_000
    path = tmp_path / f"a.jsonl{suffix}"
    if suffix == ".zip":
        zipped(path, {"a.jsonl": bomb})
    else:
        path.write_bytes(COMPRESSED[suffix](bomb))
    with pytest.raises(DatasetError, match=r"unpacks to more than 0\.001 GB"):
        open_parts(path, tmp_path / "cache", max_bytes=1_000_000)
    assert not list((tmp_path / "cache" / "read").iterdir()), "nothing is left of it"


def test_an_archive_of_too_many_files_is_refused(
    tmp_path: Path, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.datasets.sources.unpack.MOST_FILES", 3)
    path = zipped(tmp_path / "a.zip", {f"{n}.jsonl": b'{"a": 1}' for n in range(4)})
    with pytest.raises(DatasetError, match="holds 4 files; 3 are allowed"):
        read(path)


@pytest.mark.parametrize("suffix", [*COMPRESSED, ".zip"])
def test_a_cut_archive_is_damaged(tmp_path: Path, read: Any, suffix: str) -> None:
    content = os.urandom(5000).hex().encode()
    path = tmp_path / f"a.txt{suffix}"
    if suffix == ".zip":
        zipped(path, {"a.txt": content})
    else:
        path.write_bytes(COMPRESSED[suffix](content))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DatasetError, match="damaged"):
        read(path)


# ---------------------------------------------------------------- the cache


def test_a_rewrite_that_keeps_size_and_time_is_noticed(tmp_path: Path, read: Any) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "old"}\n')
    before = path.stat()
    assert read(path) == [{"text": "old"}]
    write(path, '{"text": "new"}\n')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(path) == [{"text": "new"}]


def test_rows_are_memory_mapped(tmp_path: Path) -> None:
    rows = [{"text": "x" * 10_000}] * 5000
    path = write(tmp_path / "a.jsonl", as_jsonl(rows))
    open_parts(path, tmp_path / "cache")
    before = pyarrow.total_allocated_bytes()
    [part] = open_parts(path, tmp_path / "cache")
    assert len(part) == 5000
    assert pyarrow.total_allocated_bytes() - before < 1_000_000
