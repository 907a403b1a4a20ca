"""Held files: what was found below the roots, opened once and read from that descriptor.

Between the check of a path and its reading, whoever may write there can put a link in the place of
the file. So each file is opened beneath its root, through no link, when it is checked; what reads
it goes through names of our own that lead to the descriptors.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePath

from tasks.datasets.sources.names import is_hidden
from tasks.errors import DatasetError

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_GONE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EINVAL)
"""What opening or following a name gives that was another thing a moment ago; EINVAL: readlink of
what is no link any more."""


class HeldFiles:
    """Holds the file or folder ``found``, which lies beneath one of ``roots``, all resolved.

    ``path``: under its own name, in a folder of ``scratch``; good until :meth:`close`. Raises
    DatasetError if anything in it leads out of the roots.
    """

    def __init__(self, found: Path, roots: Sequence[Path], scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._name = found.name
        self._roots = roots
        self._scratch = scratch.resolve()
        self._descriptors: list[int] = []
        self._folder = Path(tempfile.mkdtemp(prefix="held-", dir=scratch))
        self.path = self._folder / (found.name or "data")
        try:
            self._hold(found, self.path)
        except OSError as error:
            self.close()
            raise self._refusal(error) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of everything."""
        shutil.rmtree(self._folder, ignore_errors=True)
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _hold(self, real: Path, name: Path) -> None:
        descriptor = self._open(real)
        self._descriptors.append(descriptor)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            name.symlink_to(f"/proc/self/fd/{descriptor}")
        elif stat.S_ISDIR(mode):
            self._hold_folder(descriptor, real, name)
            self._descriptors.remove(descriptor)
            os.close(descriptor)

    def _hold_folder(self, descriptor: int, real: Path, name: Path) -> None:
        name.mkdir()
        for entry in sorted(os.listdir(descriptor)):
            inner, target = name / entry, real / entry
            resolved = _followed(target)
            if resolved.is_relative_to(self._scratch):
                continue  # what is held, of this data set too: it would hold itself
            if not self._is_allowed(resolved):
                raise DatasetError(
                    f"The data set folder {self._name!r} refers to a file outside of the folders "
                    f"that jobs may read ({entry}).",
                    "Put the file itself there.",
                )
            if is_hidden(PurePath(entry)) and not target.is_dir():
                continue  # read by nobody
            if resolved != target and not resolved.exists():
                inner.symlink_to("nowhere")
                continue
            if resolved != target and resolved.is_dir():
                inner.mkdir()  # not gone into: it may lead back to where it lies
                continue
            if not (resolved.is_file() or resolved.is_dir()):
                os.mkfifo(inner)  # named as what it is: no plain file
                continue
            self._hold(resolved, inner)

    def _is_allowed(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._roots)

    def _open(self, real: Path) -> int:
        """Open beneath the root, component by component, following no link."""
        root = next(root for root in self._roots if real.is_relative_to(root))
        parts = real.relative_to(root).parts
        at = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
        for part in parts:
            try:
                inner = self._open_one(part, at)
            finally:
                os.close(at)
            at = inner
        return at

    @staticmethod
    def _open_one(name: str, folder: int) -> int:
        try:
            return os.open(name, _OPEN, dir_fd=folder)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            _more_descriptors()
            return os.open(name, _OPEN, dir_fd=folder)

    def _refusal(self, error: OSError) -> Exception:
        if error.errno in _GONE:
            return DatasetError(
                f"The data set {self._name!r} was changed while it was opened.",
                "Send the job again.",
            )
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return DatasetError(
                f"The data set {self._name!r} has more files than this worker may open at a time.",
                "Put the rows into fewer files, or raise the worker's limit (ulimit -n).",
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return DatasetError(
                f"The file {error.filename!r} of the data set may not be read by this user.",
                "Give the user of the worker the right to read it.",
            )
        return error


def _followed(path: Path) -> Path:
    """Where ``path`` leads. Raises OSError, for links in a circle as well."""
    try:
        return path.resolve() if path.is_symlink() else path
    except RuntimeError as error:  # Python before 3.13 says so of a circle
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


def _more_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
