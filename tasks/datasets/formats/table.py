"""Formats of data files: one record each, from which names and bytes are recognised.

A new format is a record here and its reader in ``readers/``, which ``readers/read.py`` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FormatName = Literal["parquet", "arrow", "csv", "jsonl", "json", "text"]


@dataclass(frozen=True)
class FileFormat:
    """One format: how people call it, the suffixes of its files, and how each of them begins.

    ``magics`` are empty for a format of text, whose content is looked at.
    """

    title: str
    suffixes: tuple[str, ...]
    magics: tuple[bytes, ...] = ()


FILE_FORMATS: Mapping[FormatName, FileFormat] = {
    "parquet": FileFormat("Parquet", (".parquet", ".parq", ".pq"), (b"PAR1",)),
    "arrow": FileFormat("Arrow", (".arrow", ".feather", ".ipc"), (b"ARROW1", b"\xff\xff\xff\xff")),
    "csv": FileFormat("CSV", (".csv", ".tsv", ".tab", ".psv")),
    "jsonl": FileFormat("JSON lines", (".jsonl", ".ndjson", ".jsonlines", ".jl", ".ldjson")),
    "json": FileFormat("JSON", (".json",)),
    "text": FileFormat("text", (".txt", ".text", ".md", ".markdown")),
}
PACKINGS: Mapping[str, FileFormat] = {
    "gzip": FileFormat("gzip", (".gz", ".gzip"), (b"\x1f\x8b",)),
    "zstd": FileFormat("zstd", (".zst", ".zstd"), (b"\x28\xb5\x2f\xfd",)),
    "bzip2": FileFormat("bzip2", (".bz2", ".bzip2"), (b"BZh",)),
    "xz": FileFormat("xz", (".xz",), (b"\xfd7zXZ\x00",)),
    "zip": FileFormat("zip", (".zip",), (b"PK\x03\x04", b"PK\x05\x06")),
}
"""What files of data are packed in."""
PACKED_SUFFIXES = tuple(suffix for of in PACKINGS.values() for suffix in of.suffixes)
DATA_SUFFIXES = frozenset(suffix for of in FILE_FORMATS.values() for suffix in of.suffixes)


def format_of_suffix(suffix: str) -> FormatName | None:
    """The format whose files are called so; ``suffix`` in small letters."""
    return next((name for name, of in FILE_FORMATS.items() if suffix in of.suffixes), None)


def format_of_magic(head: bytes) -> FormatName | None:
    """The binary format whose files begin like ``head``."""
    return next((name for name, of in FILE_FORMATS.items() if head.startswith(of.magics)), None)


def packing_of(head: bytes) -> str | None:
    """What a file that begins like ``head`` is packed by; None if by nothing."""
    return next((name for name, of in PACKINGS.items() if head.startswith(of.magics)), None)
