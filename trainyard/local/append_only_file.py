"""Append-only file of Redis that ends in zeros, as a file system leaves it after a loss of power.

Redis cuts off a half-written command by itself, and refuses to start over zeros: the file's length
was on the disk before its content.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 65_536
_NO_CHECKSUM = 16
"""More zeros than the end of a snapshot has, in which an older server's file begins."""


@dataclass(frozen=True)
class Repair:
    """``zeros``: how many bytes were cut off; ``backup``: the file as it was."""

    file: Path
    zeros: int
    backup: Path


def repair_zeros(folder: Path) -> Repair | None:
    """Cut off the zeros at the end of the append-only file in ``folder``, and keep a copy of it."""
    file = _newest(folder)
    if file is None:
        return None
    zeros, ends_in_a_command = _zeros_at_the_end(file)
    if not zeros or not (
        ends_in_a_command or zeros >= _NO_CHECKSUM or file.name.endswith(".incr.aof")
    ):
        return None
    backup = folder / f"{file.name}.as-it-was-{time.strftime('%Y%m%dT%H%M%S')}"
    shutil.copyfile(file, backup)
    backup.chmod(0o600)
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - zeros)
        os.fsync(opened.fileno())
    return Repair(file, zeros, backup)


def _newest(folder: Path) -> Path | None:
    """The file that the server wrote last: since 7.0 the last increment, else the only one."""
    increments = {
        int(found[1]): path
        for path in (folder / "appendonlydir").glob("*.incr.aof")
        if (found := re.search(r"\.([0-9]+)\.incr\.aof$", path.name))
    }
    if increments:
        return increments[max(increments)]
    file = folder / "appendonly.aof"
    return file if file.exists() else None


def _zeros_at_the_end(file: Path) -> tuple[int, bool]:
    """How many, and whether a whole command stands before them."""
    zeros, size = 0, file.stat().st_size
    with file.open("rb") as opened:
        while zeros < size:
            length = min(_CHUNK, size - zeros)
            opened.seek(size - zeros - length)
            chunk = opened.read(length)
            zeros += length - len(chunk.rstrip(b"\0"))
            if chunk.strip(b"\0"):
                break
        opened.seek(max(0, size - zeros - 2))
        return zeros, opened.read(2) == b"\r\n"
