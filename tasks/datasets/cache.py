"""Cache of Arrow files, written whole or not at all, and read memory-mapped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pyarrow

from trainyard.durable_files import keep_reserve

LAYOUT = 10
"""Raise when what is written to the cache changes its meaning."""

CHARACTERS_PER_BATCH = 4 * 1024 * 1024
"""Of rows that are in memory together; a token takes a hundred bytes while it is made."""

Facts: TypeAlias = dict[str, Any]
"""What was found while a file was written, as JSON: counts, lengths, problems."""
Columns: TypeAlias = dict[str, list[Any]]


def key_of(*parts: Any) -> str:
    """Name of a cache entry: a hash of ``parts`` (JSON values) and of the layout."""
    text = json.dumps([LAYOUT, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cached_with_facts(
    path: Path, schema: pyarrow.Schema, batches: Callable[[Facts], Iterable[Columns]]
) -> tuple[datasets.Dataset, Facts]:
    """The data set at ``path``, and the facts that ``batches(facts)`` filled in as it went.

    Written from those batches (column → values) if it is not there yet.
    """
    facts_path = path.with_suffix(".json")
    if not cached(path):
        facts: Facts = {}
        with _written_whole(path) as partial:
            _write(partial, schema, batches(facts))
            # First: where the rows are, their facts are.
            with _written_whole(facts_path) as partial_facts:
                partial_facts.write_text(json.dumps(facts))
    return datasets.Dataset.from_file(str(path)), json.loads(facts_path.read_bytes())


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """A partial file that takes its name when the body has ended well, and is on the disk then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write(path: Path, schema: pyarrow.Schema, batches: Iterable[Columns]) -> None:
    with path.open("wb") as file, pyarrow.ipc.new_stream(file, schema) as writer:
        for columns in batches:
            keep_reserve(path.parent)
            writer.write_batch(pyarrow.RecordBatch.from_pydict(columns, schema=schema))


def batched(rows: Iterable[dict[str, Any]], size: int) -> Iterator[Columns]:
    """Collect rows into columns: ``size`` rows at a time, fewer where they are long."""
    pending: Columns = {}
    count = characters = 0
    for row in rows:
        for name, value in row.items():
            pending.setdefault(name, []).append(value)
            characters += len(value) if isinstance(value, str) else 0
        count += 1
        if count == size or characters >= CHARACTERS_PER_BATCH:
            yield pending
            pending, count, characters = {}, 0, 0
    if count:
        yield pending


def cached(path: Path) -> bool:
    """Whether ``path`` is in the cache; if so, it was used now, and is not pruned for that long.

    Retention locks the folder while it looks and removes: what is found here stays.
    """
    if not path.exists():
        return False
    with (path.parent / ".lock").open("a") as lock:  # of a folder NFS would allow none
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = path.exists()
        if found:
            (path.parent / f"{path.name.partition('.')[0]}.used").touch()
    return found
