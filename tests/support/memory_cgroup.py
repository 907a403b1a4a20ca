"""A memory limit that the kernel enforces, on processes that run already: cgroup v2 or v1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PLACES = (
    (Path("/sys/fs/cgroup"), "memory.max"),  # v2
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),  # v1
)


class MemoryCgroup:
    """One cgroup. What a process holds already is not charged to it, what it takes later is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, pid: int) -> None:
        """Put a process in; its threads come along, its children so far do not."""
        (self._folder / "cgroup.procs").write_text(str(pid))


@contextmanager
def memory_cgroup(limit_bytes: int) -> Iterator[MemoryCgroup]:
    """A cgroup with that limit; every process in it must have ended when this does.

    Skips the test where this machine, or this user, cannot make one.
    """
    reasons = []
    for parent, limit_file in _PLACES:
        folder = parent / f"trainyard-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError as error:
            reasons.append(str(error))
            continue
        try:
            # On a mount without the controller the folder has no such file.
            if (folder / limit_file).exists():
                (folder / limit_file).write_text(str(limit_bytes))
                yield MemoryCgroup(folder)
                return
            reasons.append(f"{parent} has no memory controller")
        finally:
            folder.rmdir()
    pytest.skip(f"no memory cgroup can be made here: {'; '.join(reasons)}")
