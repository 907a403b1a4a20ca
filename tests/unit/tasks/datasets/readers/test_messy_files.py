"""Whatever stands in a file: the right rows, or the clear error; never a crash or other rows."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.datasets.parts import open_parts
from tasks.datasets.readers import csv_quotes
from tasks.datasets.readers import rows as reader_rows
from tasks.datasets.readers.json import window as json_window
from tasks.errors import DatasetError

EXAMPLES = settings(
    max_examples=int(os.environ.get("MESSY_EXAMPLES", "25")), deadline=None, derandomize=True
)
"""The same few in every run; `make test-all` or MESSY_EXAMPLES=1000 looks further."""

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TRICKY = st.text(st.sampled_from(list("ab01,;|\t\"'\n\r {}[]:\\ü你\ufeff\x00")), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | TRICKY
VALUES = st.recursive(
    SCALARS.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "text", "data", 'q"x']), VALUES, min_size=1),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module", autouse=True)
def tiny_blocks() -> Any:
    """Blocks of a few bytes, so that every boundary is met."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader_rows, "BATCH_CHARACTERS", 24)
        patch.setattr(csv_quotes, "BLOCK_BYTES", 7)
        patch.setattr(json_window, "WINDOW_CHARACTERS", 16)
        patch.setattr(reader_rows, "ROWS_PER_BATCH", 2)
        yield


def rows_of(name: str, content: bytes) -> list[dict[str, Any]] | None:
    """The rows, without what is null; None where the clear error was raised."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        try:
            [part] = open_parts(path, Path(folder, "cache"))
        except DatasetError as error:
            assert error.mend or str(error)
            return None
        return [without_null(row) for _, row in part.rows()]


def without_null(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def same(found: Any, expected: Any) -> bool:
    """Equal, in type too: 1 is not 1.0, and neither is True."""
    return json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


def is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


WRITERS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "a.jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
    "plain.jsonl": lambda rows: "\r\n".join(json.dumps(r, ensure_ascii=False) for r in rows),
    "a.json": json.dumps,
    "pretty.json": lambda rows: json.dumps(rows, indent=1, ensure_ascii=False),
    "dense.json": lambda rows: json.dumps(rows, separators=(",", ":")),
    "data.json": lambda rows: json.dumps({"version": 1, "rows": rows, "done": True}),
}


@pytest.mark.parametrize("name", WRITERS)
@EXAMPLES
@given(rows=ROWS)
def test_rows_written_as_json_are_the_rows_read(name: str, rows: list[dict[str, Any]]) -> None:
    # One object alone may as well be an envelope: {"data": [{...}, ...]} is read as its list.
    assume(len(rows) > 1 or not any(map(is_list_of_objects, rows[0].values())))
    found = rows_of(name, WRITERS[name](rows).encode())
    assert found is not None
    assert same(found, [without_null(row) for row in rows])


CELLS = TEXT.filter(lambda cell: "\x00" not in cell) | TRICKY.map(lambda t: t.replace("\x00", ""))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@EXAMPLES
@given(table=st.integers(2, 4).flatmap(lambda n: st.lists(st.tuples(*[CELLS] * n), max_size=6)))
def test_rows_written_as_csv_are_the_rows_read(
    delimiter: str, line_end: str, table: list[tuple[str, ...]]
) -> None:
    quoting = csv.QUOTE_ALL if any("\r" in cell for row in table for cell in row) else 0
    names = [f"column{number}" for number in range(len(table[0]) if table else 2)]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows([names, *table])
    found = rows_of("a.csv", text.getvalue().encode())
    assert found == [dict(zip(names, row, strict=True)) for row in table]


def reference_csv(content: bytes) -> list[dict[str, str]] | None:
    """What the strict reader of the standard library makes of it; None where it sees a fault."""
    try:
        text = content.decode("utf-8-sig")
        records = [r for r in csv.reader(io.StringIO(text, newline=""), strict=True) if r]
    except (UnicodeDecodeError, csv.Error):
        return None
    header = [name.strip() for name in records[0]] if records else []
    rows = [r for r in records[1:] if len(header) == 1 or len(r) > 1 or r[0].strip()]
    if len(set(header)) < len(header) or any(len(row) != len(header) for row in rows):
        return None
    return [dict(zip(header, row, strict=True)) for row in rows]


@EXAMPLES
@given(body=st.text(st.sampled_from(list('a1," \n\rü\t')), max_size=40))
def test_messy_csv_is_read_as_the_strict_reader_does_or_refused(body: str) -> None:
    content = f"x,y\n{body}".encode()
    found = rows_of("a.csv", content)
    if found is not None:
        assert found == reference_csv(content)


@EXAMPLES
@given(content=st.binary(max_size=60))
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.txt", "a.parquet", "a.arrow"])
def test_any_bytes_are_rows_or_the_clear_error(name: str, content: bytes) -> None:
    rows_of(name, content)


def in_zip(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", content)
    return packed.getvalue()


def as_table(content: bytes) -> pyarrow.Table:
    return pyarrow.table({"text": content.decode().splitlines(), "when": pyarrow.array([0] * 20)})


def in_parquet(content: bytes) -> bytes:
    packed = io.BytesIO()
    pyarrow.parquet.write_table(as_table(content), packed, compression="gzip")
    return packed.getvalue()


def in_arrow(content: bytes) -> bytes:
    packed = pyarrow.BufferOutputStream()
    table = as_table(content)
    table = table.set_column(0, "text", table.column(0).dictionary_encode())
    with pyarrow.ipc.new_stream(packed, table.schema) as writer:
        writer.write_table(table)
    return bytes(packed.getvalue())


LINES = b"".join(b'{"text": "row %d"}\n' % n for n in range(20))
PACKED = {
    "a.jsonl.gz": gzip.compress(LINES),
    "a.jsonl.bz2": bz2.compress(LINES),
    "a.jsonl.xz": lzma.compress(LINES),
    "a.zip": in_zip(LINES),
    "a.parquet": in_parquet(LINES),
    "a.arrow": in_arrow(LINES),
}


@pytest.mark.parametrize("name", PACKED)
@EXAMPLES
@given(place=st.floats(0, 1), put=st.binary(max_size=4), taken=st.integers(0, 300))
def test_a_damaged_packing_is_rows_or_the_clear_error(
    name: str, place: float, put: bytes, taken: int
) -> None:
    content = PACKED[name]
    index = int(place * len(content))
    rows_of(name, content[:index] + put + content[index + taken :])


@pytest.mark.parametrize("said", ["Hi", "Hi, " * 20])
def test_a_conversation_is_one_whatever_the_window(said: str) -> None:
    chat = [{"role": role, "content": said} for role in ("user", "assistant")]
    assert rows_of("a.json", json.dumps(chat).encode()) == [{"messages": chat}]
    half = json.dumps([*chat, {"role": "user", "content": "\ud800"}])
    assert rows_of("a.json", half.encode()) is None


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "data.json"])
@EXAMPLES
@given(rows=ROWS, data=st.data())
def test_a_file_that_is_cut_or_changed_never_gives_other_rows(
    name: str, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    content = WRITERS[name](rows).encode()
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    found = rows_of(name, cut)
    if found is not None:
        expected = [without_null(row) for row in rows]
        whole = name == "a.jsonl" and same(found, expected[: len(found)])
        assert whole, "only whole lines may be left"
    place = data.draw(st.integers(0, len(content) - 1))
    changed = content[:place] + data.draw(st.binary(max_size=2)) + content[place + 1 :]
    found = rows_of(name, changed)
    if found is not None and name == "a.json":
        with suppress(UnicodeDecodeError):  # else it may be Latin-1
            document = json.loads(changed)
            assume(isinstance(document, list))
            assert same(found, [without_null(row) for row in document])
