"""Tar archive of a folder, made while it is sent: no temporary file, little memory."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainyard.contract.error_tree import TrainyardError

_CHUNK_BYTES = 1024 * 1024


class FileChanged(TrainyardError):
    """A file became shorter while it was being sent; the archive is cut off."""


@dataclass(frozen=True)
class _Member:
    path: Path
    header: bytes
    size_bytes: int

    @property
    def padding(self) -> int:
        return -self.size_bytes % tarfile.BLOCKSIZE


class FolderArchive:
    """The regular files below ``folder`` as they are now, below ``name/`` in the archive.

    Links and devices are left out: an archive never holds what lies outside the folder.
    ``size_bytes`` is the archive's. Tensors do not compress, so nothing is compressed.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._members = [_member(path, folder, name) for path in _regular_files(folder)]
        self.size_bytes = 2 * tarfile.BLOCKSIZE + sum(
            len(member.header) + member.size_bytes + member.padding for member in self._members
        )

    def chunks(self) -> Iterator[bytes]:
        """The archive's bytes. Raises FileChanged, and OSError if a file is gone."""
        for member in self._members:
            yield member.header
            left = member.size_bytes
            # A path that was swapped for a link since is refused here.
            with os.fdopen(os.open(member.path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                while left:
                    chunk = file.read(min(_CHUNK_BYTES, left))
                    if not chunk:
                        raise FileChanged(str(member.path))
                    left -= len(chunk)
                    yield chunk
            yield bytes(member.padding)
        yield bytes(2 * tarfile.BLOCKSIZE)


def _regular_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if stat.S_ISREG(path.lstat().st_mode))


def _member(path: Path, folder: Path, name: str) -> _Member:
    status = path.lstat()
    info = tarfile.TarInfo(f"{name}/{path.relative_to(folder)}")
    info.size, info.mtime, info.mode = status.st_size, int(status.st_mtime), 0o644
    return _Member(path, info.tobuf(), status.st_size)
