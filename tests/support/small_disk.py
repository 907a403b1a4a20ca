"""File system of its own, small enough to be filled."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LEAST = 4096


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """Mounts one on ``folder``, which it makes; false if this machine or user may not mount."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, *, leave: int = 0) -> Path:
    """Leave so many bytes on the disk of ``folder``; the file whose removal frees it again."""
    filler, at = folder / "filler", 0
    with filler.open("wb") as file:
        while (size := shutil.disk_usage(folder).free - leave) >= _LEAST:
            try:
                os.posix_fallocate(file.fileno(), at, size)
            except OSError as error:  # others write as well
                if error.errno != errno.ENOSPC:
                    raise
            else:
                at += size
    return filler
