"""Arrow files that a tenant made to read the worker's memory, to crash it, or to cost it much."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tasks.datasets.parts import open_parts
from tasks.datasets.readers.arrow_files import read_arrow
from tasks.datasets.readers.problems import Problems
from tasks.datasets.readers.sound_batches import sound
from tasks.errors import DatasetError

BEFORE_THE_FILE = -10_000_000
FAR_AWAY = 1_600_000_000
NO_UTF_8 = pyarrow.array([b"\xff\xfe", b"ab", b"c", b"d"], pyarrow.binary()).view(pyarrow.string())
TEXT = pyarrow.array([None, None, "hello", None])


def alone(column: pyarrow.Array) -> pyarrow.RecordBatch:
    return pyarrow.record_batch([column], ["text"])


def behind_broken_text(column: pyarrow.Array) -> pyarrow.RecordBatch:
    return pyarrow.record_batch([NO_UTF_8, column], ["a", "text"])


def behind_broken_text_in_a_struct(column: pyarrow.Array) -> pyarrow.RecordBatch:
    return alone(pyarrow.StructArray.from_arrays([NO_UTF_8, column], ["a", "text"]))


def around_broken_text(column: pyarrow.Array) -> pyarrow.RecordBatch:
    lists = pyarrow.ListArray.from_arrays([0, 1, 2, 3, 4], NO_UTF_8)
    return pyarrow.record_batch([lists, column], ["a", "text"])


def as_file(batch: pyarrow.RecordBatch, make: Callable[..., pyarrow.RecordBatchWriter]) -> bytes:
    sink = io.BytesIO()
    with make(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def pointing(data: bytes, start: int) -> bytes:
    """The file with an inner offset of TEXT that leads ``start`` bytes away; all ends stay."""
    true = struct.pack("<5i", 0, 0, 0, 5, 5)
    assert data.count(true) == 1
    return data.replace(true, struct.pack("<5i", 0, 0, start, start + 28, 5))


@pytest.mark.parametrize("start", [BEFORE_THE_FILE, FAR_AWAY])
@pytest.mark.parametrize("make", [pyarrow.ipc.new_stream, pyarrow.ipc.new_file])
@pytest.mark.parametrize(
    "hide", [alone, behind_broken_text, behind_broken_text_in_a_struct, around_broken_text]
)
def test_an_offset_out_of_its_buffer_is_damage(
    hide: Callable[[pyarrow.Array], pyarrow.RecordBatch],
    make: Callable[..., pyarrow.RecordBatchWriter],
    start: int,
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.arrow"
    path.write_bytes(pointing(as_file(hide(TEXT), make), start))
    with pytest.raises(DatasetError, match="is damaged Arrow"):
        open_parts(path, tmp_path / "cache", skip_bad_rows=True)


@pytest.mark.parametrize("inside", ["part-0.arrow", "a.arrow.gz"])
def test_it_is_found_in_folders_and_archives_too(inside: str, tmp_path: Path) -> None:
    data = pointing(as_file(alone(TEXT), pyarrow.ipc.new_stream), BEFORE_THE_FILE)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / inside).write_bytes(gzip.compress(data) if inside.endswith("gz") else data)
    with pytest.raises(DatasetError, match="is damaged Arrow"):
        open_parts(tmp_path / "set", tmp_path / "cache")


def _union(text: pyarrow.Array) -> pyarrow.Array:
    codes = pyarrow.array([0] * len(text), pyarrow.int8())
    return pyarrow.UnionArray.from_sparse(codes, [text])


def _map(text: pyarrow.Array) -> pyarrow.Array:
    return pyarrow.MapArray.from_arrays([0, 1, 2, 3, 4], pyarrow.array(["k"] * 4), text)


def _run_ends(text: pyarrow.Array) -> pyarrow.Array:
    kind = pyarrow.run_end_encoded(pyarrow.int32(), pyarrow.string())
    ends = pyarrow.array([1, 2, 3, 4], pyarrow.int32())
    return pyarrow.Array.from_buffers(kind, 4, [None], children=[ends, text])


KINDS: dict[str, Callable[[pyarrow.Array], pyarrow.Array]] = {
    "text": lambda text: text,
    "large_string": lambda text: (
        text.view(pyarrow.binary()).cast(pyarrow.large_binary()).view(pyarrow.large_string())
    ),
    "dictionary": lambda text: pyarrow.DictionaryArray.from_arrays([0, 1, 2, 3], text),
    "list": lambda text: pyarrow.ListArray.from_arrays([0, 1, 2, 3, 4], text),
    "large_list": lambda text: pyarrow.LargeListArray.from_arrays([0, 1, 2, 3, 4], text),
    "list_view": lambda text: pyarrow.ListViewArray.from_arrays([0, 1, 2, 3], [1] * 4, text),
    "fixed_size_list": lambda text: pyarrow.FixedSizeListArray.from_arrays(text, 1),
    "struct": lambda text: pyarrow.StructArray.from_arrays([text], ["a"]),
    "map": _map,
    "union": _union,
    "run_end_encoded": _run_ends,
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_text_that_is_no_utf_8_stays_a_problem_of_its_row(kind: str) -> None:
    batch = alone(KINDS[kind](NO_UTF_8))
    with pytest.raises(pyarrow.ArrowInvalid, match="UTF8"):
        batch.validate(full=True)
    assert sound(batch) is batch


@pytest.mark.parametrize("end", ["an inner offset", "the last offset"])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"large_string"}))
def test_each_kind_is_looked_through_behind_broken_text(
    kind: str, end: str, tmp_path: Path
) -> None:
    data = as_file(behind_broken_text(KINDS[kind](TEXT)), pyarrow.ipc.new_stream)
    true = struct.pack("<5i", 0, 0, 0, 5, 5)
    wrong = (0, 0, 9**9, 5, 5) if end == "an inner offset" else (0, 0, 0, 5, 9**9)
    assert data.count(true) == 1
    path = tmp_path / "a.arrow"
    path.write_bytes(data.replace(true, struct.pack("<5i", *wrong)))
    with pytest.raises(DatasetError, match=r"is damaged Arrow: .*(offset|Length spanned)"):
        list(read_arrow(path, "a", Problems(), damaged=False))


def test_rows_that_are_only_claimed_are_not_made(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    few, many = struct.pack("<q", 1_234), struct.pack("<q", 10**12)
    data = as_file(alone(pyarrow.nulls(1_234)), pyarrow.ipc.new_stream)
    path.write_bytes(data.replace(few, many))
    with pytest.raises(DatasetError, match="1,000,000,000,000 rows in 0 bytes"):
        open_parts(path, tmp_path / "cache")


def test_what_is_read_is_a_copy(tmp_path: Path) -> None:
    """Whoever may write to the file changes nothing that was looked at."""
    path = tmp_path / "a.arrow"
    path.write_bytes(as_file(alone(pyarrow.array(["harmless"] * 4)), pyarrow.ipc.new_stream))
    chunk = next(read_arrow(path, "a", Problems(), damaged=False))
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    assert chunk.batch.column(0).to_pylist() == ["harmless"] * 4


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "arrow", "parquet"])
def test_too_many_columns_are_refused_before_each_is_looked_at(suffix: str, tmp_path: Path) -> None:
    names, path = [f"c{n}" for n in range(60_000)], tmp_path / f"a.{suffix}"
    if suffix == "csv":
        path.write_text(",".join(names) + "\n" + ",".join("1" * 60_000) + "\n")
    elif suffix == "jsonl":
        lines = (f'{{"text": "x", "{name}": "1"}}' for name in names)
        path.write_text("\n".join(lines))
    else:
        table = pyarrow.table({name: ["1"] for name in names[:6000]})
        if suffix == "arrow":
            path.write_bytes(as_file(table.to_batches()[0], pyarrow.ipc.new_file))
        else:
            pyarrow.parquet.write_table(table, path)
    with pytest.raises(DatasetError, match="more than 2000 different columns"):
        open_parts(path, tmp_path / "cache")
