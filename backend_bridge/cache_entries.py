"""Entries of the data sets' cache: when each was used last, and their removal.

An entry is what lies in one folder under one name up to its first dot: a file or folder, the facts
beside it, and the mark of its last use. A training that looks for one holds the folder's lock and
leaves the mark (``tasks.datasets.last_use``): none is removed between a look and a use.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path


def prune_entries(folder: Path, cutoff: float) -> Iterator[int]:
    """Remove the entries of ``folder`` that were not used since ``cutoff``; yields their bytes."""
    entries: dict[str, set[Path]] = defaultdict(set)
    for path in folder.iterdir():
        entries[path.name.partition(".")[0]].add(path)
    entries.pop("", None)  # the lock
    for name, paths in entries.items():
        size = None
        with (folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            paths.add(folder / f"{name}.used")  # it may be new
            there = [path for path in paths if os.path.lexists(path)]
            if there and max(last_used(path) for path in there) < cutoff:
                # Rows go before their facts: without these they cannot be read.
                size = sum(remove(path) for path in sorted(there))
        if size is not None:
            yield size


def last_used(path: Path) -> float:
    """A folder's own times say when it was listed: its files' count, and when it changed."""
    inside = [p.lstat() for p in path.rglob("*") if not p.is_dir()] if path.is_dir() else []
    times = [max(status.st_mtime, status.st_atime) for status in inside]
    return max([path.lstat().st_mtime, *times])


def remove(path: Path) -> int:
    """Delete a file or a folder, which is never seen in part; returns its bytes."""
    if path.is_dir() and not path.is_symlink():
        size = sum(p.lstat().st_size for p in path.rglob("*") if not p.is_dir())
        leaving = path.rename(path.with_name(f"pruned-{uuid.uuid4().hex}"))
        shutil.rmtree(leaving)
        return size
    size = path.lstat().st_size
    path.unlink()
    return size
