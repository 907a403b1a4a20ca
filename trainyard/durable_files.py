"""Files that are either there whole or not at all, and the disk that they share."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from trainyard.contract.units import GB

RESERVED = "what is left is kept for checkpoints and Redis"


def keep_reserve(folder: Path) -> None:
    """For what fills a disk with what others send: raise OSError (ENOSPC) if only 1 GB is left.

    Of a small disk a fiftieth. Checkpoints and Redis, which lose work without room, use it.
    """
    disk = shutil.disk_usage(folder)
    if disk.free < min(GB, disk.total // 50):
        raise OSError(errno.ENOSPC, RESERVED, str(folder))


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write ``text`` to ``path``: a reader sees the old contents or the new, after a crash too."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_durably(path: Path, content: bytes) -> None:
    """Write ``content`` so that after a crash ``path`` holds all of it or what it held before."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_dir() and not path.is_symlink():
        return sum(inner.lstat().st_size for inner in path.rglob("*") if not inner.is_dir())
    return path.lstat().st_size
