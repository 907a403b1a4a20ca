"""A disk that fails at the n-th operation below a folder.

    kill      the process is killed before the operation
    power     the same, and what was not brought to the disk (fsync) is cut in half
    full      from here on nothing new can be written: ENOSPC
    error     this one operation fails: EIO

Operations are those that Python announces to audit hooks (open for writing, rename, remove, ...)
and fsync. What torch and safetensors write themselves is announced by neither.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

HOWS = ("kill", "power", "full", "error")
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link"}
_NEEDS_ROOM = {"open", "os.mkdir", "fsync"}
_WRITING = os.O_WRONLY | os.O_RDWR


class FailingDisk:
    """The n-th operation below ``folder`` fails, in this process and for good."""

    def __init__(self, folder: Path, at: int, how: str) -> None:
        self._folder, self._at, self._how = folder, at, how
        self._count = 0
        self._busy = False
        self._synced = self._files()
        self._fsync = os.fsync
        os.fsync = self._noted_fsync
        sys.addaudithook(self._on_audit_event)

    @property
    def struck(self) -> bool:
        return self._count >= self._at

    def _on_audit_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = isinstance(flags, int) and flags & _WRITING
            if not (writes or (isinstance(mode, str) and mode[:1] in "wax")):
                return
        elif event == "ctypes.dlsym" and arguments[1] == "renameat2":
            path = self._folder
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if isinstance(path, str | bytes | os.PathLike):
            self._operation(event, Path(os.fsdecode(path)))

    def _noted_fsync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self._operation("fsync", path)
        self._fsync(descriptor)
        if path.is_file():
            self._synced |= {path.stat().st_ino: _state(path)}

    def _operation(self, name: str, path: Path) -> None:
        # What is removed by a descriptor of its folder has a name and no path.
        if path.is_absolute() and not path.is_relative_to(self._folder):
            return
        self._count += 1
        if self._count < self._at:
            return
        if self._how == "full" and name in _NEEDS_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if self._how == "error" and self._count == self._at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        if self._how in ("kill", "power"):
            self._busy = True
            if self._how == "power":
                self._lose_what_is_not_synced()
            os.kill(os.getpid(), signal.SIGKILL)

    def _lose_what_is_not_synced(self) -> None:
        for path in self._folder.rglob("*"):
            if path.is_file() and self._synced.get(path.stat().st_ino) != _state(path):
                os.truncate(path, path.stat().st_size // 2)

    def _files(self) -> dict[int, tuple[int, int]]:
        files = (path for path in self._folder.rglob("*") if path.is_file())
        return {path.stat().st_ino: _state(path) for path in files}


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
