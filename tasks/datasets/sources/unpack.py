"""Unpack .gz, .bz2, .zst, .xz and .zip into a folder of the cache, within bounds."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow

from tasks.datasets.formats import magic_bytes
from tasks.datasets.formats.table import PACKED_SUFFIXES, packing_of
from tasks.datasets.sources.names import is_hidden
from tasks.errors import DatasetError
from trainyard.contract.units import GB
from trainyard.durable_files import keep_reserve

MOST_FILES = 10_000
_BLOCK_BYTES = 1024 * 1024
_DAMAGED = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
    *(NotImplementedError, struct.error, ValueError),  # zipfile's, for headers that are wrong
)
_OF_THE_ARCHIVE = (
    *(None, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.EILSEQ, errno.ELOOP),
)
"""Errors that names or offsets in an archive lead to; others are the disk's own."""


def _zstd(path: Path) -> Any:
    # zstandard's own reader takes a file that is cut off for one that ends there.
    return pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")


_OPENERS: dict[str, Callable[[Path], Any]] = {
    **{"gzip": gzip.open, "bzip2": bz2.open},
    **{"zstd": _zstd, "xz": lzma.open},
}


class Unpacker:
    """Unpacks below ``folder``, to at most ``max_bytes`` in all."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._count = 0

    def unpacked(self, path: Path, name: str) -> Path:
        """``path`` itself where it is not packed; else what is in it: a file, or a folder.

        Raises DatasetError where the archive is damaged, too large, or reaches out of its folder.
        """
        if path.is_dir():
            return path
        head = magic_bytes.head_of(path)
        kind = packing_of(head)
        if kind is None:
            magic_bytes.refuse_what_is_no_data(head, path, name)
            return path
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir(parents=True)
        try:
            if kind == "zip":
                return self._unzip(path, name, folder)
            return self._inflate(_OPENERS[kind], path, name, folder)
        except _DAMAGED as error:
            # EINVAL: a wrong offset in the archive.
            if isinstance(error, OSError) and error.errno not in _OF_THE_ARCHIVE:
                raise  # the disk's own error, not the archive's
            reason = error.strerror if isinstance(error, OSError) and error.errno else error
            raise DatasetError(
                f"The data set {name!r} is damaged {kind}: {reason}", "Write or copy it again."
            ) from error

    def _inflate(self, opener: Callable[[Path], Any], path: Path, name: str, folder: Path) -> Path:
        plain = path.name
        if path.suffix.lower() in PACKED_SUFFIXES:
            plain = path.name[: -len(path.suffix)]
        target = folder / plain
        with opener(path) as packed:
            self._copy(packed, target, name)
        return target

    def _unzip(self, path: Path, name: str, folder: Path) -> Path:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > MOST_FILES:
                raise DatasetError(
                    f"The archive {name!r} holds {len(members)} files; {MOST_FILES} are allowed.",
                    "Put the rows into fewer files.",
                )
            kind = magic_bytes.kind_of_zip(
                [member.filename for member in members], _mimetype(archive)
            )
            if kind is not None:
                raise magic_bytes.refuse(kind, name)
            for member in members:
                _refuse_unsafe(member, name)
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed:
                    self._copy(packed, target, name)
        inside = (file for file in folder.rglob("*") if file.is_file())
        # macOS adds ``__MACOSX`` and ``.DS_Store`` to archives.
        files = [file for file in inside if not is_hidden(file.relative_to(folder))]
        if not files:
            raise DatasetError(f"The archive {name!r} is empty.")
        return files[0] if len(files) == 1 else folder

    def _copy(self, packed: IO[bytes], target: Path, name: str) -> None:
        with target.open("wb") as out:
            while block := packed.read(_BLOCK_BYTES):
                self._left -= len(block)
                if self._left < 0:
                    raise DatasetError(
                        f"The data set {name!r} unpacks to more than {self._max_bytes / GB:g} GB.",
                        "Raise MAX_DOWNLOAD_GB where the worker is started, if it should.",
                    )
                keep_reserve(self._folder)
                out.write(block)


def _mimetype(archive: zipfile.ZipFile) -> bytes:
    """What an OpenDocument or an e-book says that it is, at its very start."""
    first = archive.infolist()[:1]
    if not first or first[0].filename != "mimetype" or first[0].flag_bits & 1:
        return b""
    return archive.read(first[0])[:200]


def _refuse_unsafe(member: zipfile.ZipInfo, name: str) -> None:
    path = PurePosixPath(member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
        raise DatasetError(
            f"The archive {name!r} reaches out of its folder: {member.filename!r}.",
            "Write it again with plain names.",
        )
    if kind not in (0, stat.S_IFREG):
        raise DatasetError(
            f"The archive {name!r} holds {member.filename!r}, which is no plain file.",
            "Write it again with plain files.",
        )
    if member.flag_bits & 1:
        raise DatasetError(f"The archive {name!r} is encrypted.", "Write it without a password.")
