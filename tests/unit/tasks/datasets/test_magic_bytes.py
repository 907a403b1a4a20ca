"""A file that is no data set is named by what it is, whatever it is called."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.orc
import pytest

from tasks.datasets.parts import open_parts
from tasks.errors import DatasetError
from tests.support.data_files import read_rows, write

LFS = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 2306545\n"
)


def zipped(*members: str, mimetype: str = "") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        if mimetype:
            archive.writestr("mimetype", mimetype)
        for member in members:
            archive.writestr(member, "content")
    return data.getvalue()


def sqlite() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table rows (question text, answer text)")
    data = connection.serialize()
    connection.close()
    return data


def npy(*, several: bool) -> bytes:
    data = io.BytesIO()
    if several:
        numpy.savez(data, numpy.arange(3))
    else:
        numpy.save(data, numpy.arange(3))
    return data.getvalue()


def orc() -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.orc.write_table(pyarrow.table({"text": ["a", "b"]}), sink)
    return bytes(sink.getvalue())


def tfrecord() -> bytes:
    """One record of 11 bytes: length, its masked CRC-32C, the bytes, theirs (not looked at)."""
    return (11).to_bytes(8, "little") + bytes.fromhex("8615f504") + b"hello world" + b"\1\2\3\4"


OPEN = "application/vnd.oasis.opendocument."
ROWS: dict[str, Any] = {"question": "x", "answer": ["y"] * 9}
KINDS: dict[str, tuple[bytes, str, str]] = {
    "git lfs": (LFS.encode(), "a Git LFS pointer", "git lfs pull"),
    "git annex": (b"/annex/objects/MD5E-s9--b1.parquet\n", "a git-annex pointer", "git annex get"),
    "dvc": (b"outs:\n- md5: 4d7a2146\n  path: train.jsonl\n", "a DVC pointer", "dvc pull"),
    "xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook", "as CSV"),
    "xlsb": (zipped("[Content_Types].xml", "xl/workbook.bin"), "an Excel workbook", "as CSV"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "old Office", "as CSV"),
    "docx": (zipped("word/document.xml"), "a Word document", "plain text"),
    "ods": (zipped("content.xml", mimetype=OPEN + "spreadsheet"), "spreadsheet", "as CSV"),
    "odt": (zipped("content.xml", mimetype=OPEN + "text"), "OpenDocument text", "plain text"),
    "epub": (zipped("META-INF/container.xml"), "an e-book", "plain text"),
    "npz": (npy(several=True), "a NumPy file", "JSON lines"),
    "npy": (npy(several=False), "a NumPy file", "JSON lines"),
    "pt": (zipped("archive/data.pkl", "archive/data/0"), "pickle, which is never opened", "rows"),
    **{
        f"pickle {number}": (pickle.dumps(ROWS, number), "pickle, which is never opened", "rows")
        for number in range(6)
    },
    "sqlite": (sqlite(), "an SQLite database", "as CSV"),
    "html": (
        b"\n<!-- saved -->\n<!DOCTYPE html>\n<html><body>Sign in</body>",
        "a web page",
        "file",
    ),
    "xhtml": (b'<?xml version="1.0"?>\n<html xmlns="x">', "a web page", "file"),
    "html utf-16": ("<html><body>Sign in".encode("utf-16"), "a web page", "file"),
    "html table": (b"<table border=1><tr><td>question</td>", "a web page", "file"),
    "xml": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code>', "an XML document", "CSV"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "a PDF document", "plain text"),
    "rtf": (b"{\\rtf1\\ansi Hello.}", "an RTF document", "plain text"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file", "rows"),
    "avro": (b"Obj\x01\x04\x14avro.codec", "an Avro file", "rows"),
    "orc": (orc(), "an ORC file", "rows"),
    "tfrecord": (tfrecord(), "a TFRecord file", "rows"),
    "gguf": (b"GGUF\x03\0\0\0" + bytes(99), "a GGUF model", "text"),
    "safetensors": (b'\x40\0\0\0\0\0\0\0{"weight":{"dtype":"F32"', "a safetensors file", "text"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive", "Unpack it"),
    "rar": (b"Rar!\x1a\x07\x01\0", "a RAR archive", "Unpack it"),
    "lz4": (b"\x04\x22\x4d\x18\x64\x40\xa7", "an LZ4 file", "Unpack it"),
    "tar": (b"a.jsonl" + bytes(250) + b"ustar\x0000", "a tar archive", "Unpack it"),
    "tar.gz": (gzip.compress(b"a" + bytes(256) + b"ustar\x0000"), "a tar archive", "Unpack it"),
    "encrypted parquet": (b"PARE\x15\0\x15\0", "an encrypted Parquet file", "encryption"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "an image", "text"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image", "text"),
    "wav": (b"RIFF\x24\x08\0\0WAVEfmt ", "a recording", "text"),
    "mp4": (b"\0\0\0\x20ftypisom", "a video", "text"),
    "elf": (b"\x7fELF\x02\x01\x01", "a program", "CSV"),
}
NAMES = ("a.jsonl", "a.csv", "a.txt", "a.parquet", "a.dat", "a")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_data_is_named_whatever_it_is_called(tmp_path: Path, kind: str) -> None:
    content, what, mend = KINDS[kind]
    for name in NAMES:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=what) as caught:
            open_parts(tmp_path / name, tmp_path / "cache")
        assert mend in caught.value.mend
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_what_is_no_data_is_named_when_it_is_unpacked(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"a.parquet.{suffix}"
    path.write_bytes(pack(LFS.encode()))
    with pytest.raises(DatasetError, match="a Git LFS pointer"):
        open_parts(path, tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.parquet", b'{"text": "a"}\n{"text": "b"}\n', "is called .parquet, but is no Parquet"),
        ("a.pq", b"text\nhello\n", "no Parquet file"),
        ("a.arrow", b"text\nhello\n", "no Arrow file"),
        ("a.feather", b"question,answer\na,b\n", "no Arrow file"),
        ("a.zip", b'{"text": "a"}\n', "no zip file"),
        ("a.jsonl.gz", b'{"text": "a"}\n', "no gzip file"),
        ("a.jsonl.zst", b'{"text": "a"}\n', "no zstd file"),
        ("a.jsonl.bz2", b'{"text": "a"}\n', "no bzip2 file"),
        ("a.jsonl.xz", b"hello\n", "no xz file"),
        ("a.zip", b"", "no zip file: it is empty"),
    ],
)
def test_a_file_is_what_its_suffix_calls_it(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=what) as caught:
        open_parts(tmp_path / name, tmp_path / "cache")
    assert "download it again" in caught.value.mend


@pytest.mark.parametrize(
    "text",
    [
        "ORCHARDS are planted in spring.",
        "PARENTS may read this.",
        "MZ is a prefix, BM another, and II* a third.",
        "The big DUCK swims.",
        "versions differ",
        "(l)\nA list of things",
        "cats\ndogs",
        "GGUF is a format of llama.cpp.",
        "<|begin_of_text|>Hello.",
        "<think> is a tag.",
        "[Verse 1]\nLa la la",
        "{name} said hello.",
        "From the beginning: a tale.",
    ],
)
def test_a_text_may_begin_like_anything(tmp_path: Path, text: str) -> None:
    for name in ("a.txt", "a.md", "a"):
        rows = read_rows(write(tmp_path / name, text), tmp_path / "cache")
        assert [row["text"] for row in rows] == text.split("\n")
