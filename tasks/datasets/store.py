"""Arrow files in the cache, written whole or not at all, and read memory-mapped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow

LAYOUT = 2
"""Raise when what is written to the cache changes its meaning."""


def key_of(*parts: Any) -> str:
    """Name of a cache entry: a hash of ``parts`` (JSON values) and of the layout."""
    text = json.dumps([LAYOUT, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def identity_of(path: Path) -> list[Any]:
    """What changes whenever the file does: path, size, inode, change and modification time.

    The change time cannot be set back, so a rewrite that keeps the modification time is noticed.
    A folder is all of its files.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    entries = []
    for file in files:
        stat = file.stat()
        entries.append([str(file), stat.st_size, stat.st_ino, stat.st_ctime_ns, stat.st_mtime_ns])
    return entries


def cached_arrow(
    path: Path, schema: pyarrow.Schema, batches: Callable[[], Iterable[dict[str, list[Any]]]]
) -> datasets.Dataset:
    """The data set at ``path``, written from ``batches()`` (column → values) where it is absent."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            _write(partial, schema, batches())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return datasets.Dataset.from_file(str(path))


def _write(path: Path, schema: pyarrow.Schema, batches: Iterable[dict[str, list[Any]]]) -> None:
    with path.open("wb") as file, pyarrow.ipc.new_stream(file, schema) as writer:
        for columns in batches:
            writer.write_batch(pyarrow.RecordBatch.from_pydict(columns, schema=schema))
        file.flush()


def batched(rows: Iterable[dict[str, Any]], size: int) -> Iterator[dict[str, list[Any]]]:
    """Collect rows into columns, ``size`` rows at a time."""
    pending: dict[str, list[Any]] = {}
    count = 0
    for row in rows:
        for name, value in row.items():
            pending.setdefault(name, []).append(value)
        count += 1
        if count == size:
            yield pending
            pending, count = {}, 0
    if count:
        yield pending
