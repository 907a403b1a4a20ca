"""Files that OpenAI's clients upload, below TRAINYARD_HOME: a folder each, with its rows and facts.

A folder appears when all of it is on the disk. Its name is made here; the one that the client gave
is a fact like its size.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.names import UPLOAD_PATTERN, UPLOADED_ROWS, UPLOADS
from trainyard.contract.units import MB
from trainyard.durable_files import keep_reserve, sync, write_durably
from trainyard.store.retention import remove

FILE_BYTES_MAX = 512 * MB
"""Of one file, as OpenAI has it."""
TOO_LARGE = f"the file is larger than {FILE_BYTES_MAX // MB} MB"
_NO_ROOM = "there is no room for the file: delete others, or raise MAX_UPLOADS_GB"
_FACTS = "file.json"
_UNFINISHED = ".upload-"
_LOOKED_AT_BYTES = MB
LOOK_EVERY_BYTES = 16 * MB
"""So much of an upload comes before it looks again for the room that others take meanwhile."""
_ABANDONED_AFTER_S = 3600.0
"""An upload has ended long before: the bridge gives a request five minutes."""


class UploadRefused(TrainyardError):
    """A file that is not taken; ``is_too_large``: or there is no room for it."""

    def __init__(self, sentence: str, *, is_too_large: bool = False) -> None:
        super().__init__(sentence)
        self.is_too_large = is_too_large


class StoredFile(BaseModel):
    """Facts of one file. Times are seconds since the epoch."""

    id: str
    bytes: int
    created_at: float
    filename: str
    purpose: str
    expires_at: float | None = None

    @property
    def dataset_path(self) -> str:
        """As a job names it."""
        return f"{self.id}/{UPLOADED_ROWS}"


class FileStore:
    """The files of one home. ``quota_bytes``: of all of them together."""

    def __init__(self, home: Path, quota_bytes: int) -> None:
        self.folder = home / UPLOADS
        self.quota_bytes = quota_bytes

    def begin(self, in_use: Collection[str]) -> Upload:
        """A file on its way. ``in_use``: files that stay, though their time is over.

        Raises OSError if the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep(in_use)
        keep_reserve(self.folder)
        return Upload(self)

    def used_bytes(self) -> int:
        """Of all files, those on their way too."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(FileNotFoundError):  # another request has put it elsewhere
                    total += (Path(folder) / name).lstat().st_size
        return total

    @contextmanager
    def only_one(self) -> Iterator[None]:
        """Names stand still meanwhile: a folder that changes its name is not seen by a walk."""
        with self.folder.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def files(self) -> list[StoredFile]:
        """All of them, the newest first."""
        paths = self.folder.iterdir() if self.folder.is_dir() else ()
        found = [file for path in paths if (file := self.get(path.name)) is not None]
        return sorted(found, key=lambda file: (file.created_at, file.id), reverse=True)

    def get(self, file_id: str) -> StoredFile | None:
        """None if it is not there, or not any more."""
        if not re.fullmatch(UPLOAD_PATTERN, file_id):
            return None
        try:
            facts = (self.folder / file_id / _FACTS).read_bytes()
            file = StoredFile.model_validate_json(facts)
        except (FileNotFoundError, ValidationError):
            return None
        is_over = file.expires_at is not None and file.expires_at <= time.time()
        return None if is_over else file

    def rows(self, file: StoredFile) -> Path:
        """The uploaded bytes."""
        return self.folder / file.id / UPLOADED_ROWS

    def use(self, file_id: str) -> StoredFile | None:
        """As :meth:`get`; it is used now: its retention begins anew."""
        file = self.get(file_id)
        if file is None:
            return None
        try:
            os.utime(self.folder / file.id / _FACTS)
        except FileNotFoundError:  # another request has deleted it
            return None
        return file

    def delete(self, file: StoredFile) -> None:
        """Remove it for good."""
        with suppress(FileNotFoundError):  # another request does so too
            remove(self.folder / file.id)

    def _sweep(self, in_use: Collection[str]) -> None:
        """Files whose time is over, and what a crash left of an upload or a removal."""
        for path in self.folder.iterdir():
            is_file = re.fullmatch(UPLOAD_PATTERN, path.name) is not None
            with suppress(FileNotFoundError):  # another request has swept it
                over = (
                    path.name not in in_use and self.get(path.name) is None
                    if is_file
                    else path.lstat().st_mtime < time.time() - _ABANDONED_AFTER_S
                )
                if over:
                    remove(path)


def ids_in(dataset: str) -> list[str]:
    """Files that a job's data set names, as the job store has it."""
    return re.findall(UPLOAD_PATTERN, dataset)


class Upload:
    """One file on its way; whoever leaves the context without :meth:`keep` leaves nothing."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._room = store.quota_bytes - store.used_bytes()
        self.size = self._looked_at = 0
        self._folder = store.folder / f"{_UNFINISHED}{secrets.token_hex(12)}"
        self._folder.mkdir()
        self._rows = (self._folder / UPLOADED_ROWS).open("wb")

    def write(self, data: bytes) -> None:
        """More of it. Raises UploadRefused, OSError."""
        self.size += len(data)
        if self.size > FILE_BYTES_MAX:
            raise UploadRefused(TOO_LARGE, is_too_large=True)
        if self.size > self._room:
            raise UploadRefused(_NO_ROOM, is_too_large=True)
        self._rows.write(data)
        if self.size - self._looked_at >= LOOK_EVERY_BYTES:
            self._looked_at = self.size
            keep_reserve(self._folder)
            self._refuse_too_much()

    def _refuse_too_much(self) -> None:
        """Others came meanwhile."""
        if self._store.used_bytes() > self._store.quota_bytes:
            raise UploadRefused(_NO_ROOM, is_too_large=True)

    def keep(self, filename: str, purpose: str, lives_s: int | None) -> StoredFile:
        """Let it appear. Raises UploadRefused if it holds no JSON lines."""
        self._rows.flush()
        os.fsync(self._rows.fileno())
        self._refuse_other_forms()
        now = time.time()
        file = StoredFile(
            id=f"file-{secrets.token_hex(12)}",
            bytes=self.size,
            created_at=now,
            filename=filename[:255],
            purpose=purpose,
            expires_at=None if lives_s is None else now + lives_s,
        )
        write_durably(self._folder / _FACTS, file.model_dump_json().encode())
        with self._store.only_one():
            self._refuse_too_much()
            self._folder.rename(self._store.folder / file.id)
        sync(self._store.folder)
        return file

    def _refuse_other_forms(self) -> None:
        """The first line tells; the training looks at every one."""
        with (self._folder / UPLOADED_ROWS).open("rb") as rows:
            first = rows.readline(_LOOKED_AT_BYTES).removeprefix(b"\xef\xbb\xbf")
        try:
            is_row = len(first) == _LOOKED_AT_BYTES or isinstance(json.loads(first), dict)
        except (ValueError, RecursionError):
            is_row = False
        if not is_row:
            raise UploadRefused("the file holds no JSON lines: its first line is no JSON object")

    def close(self) -> None:
        """Leave nothing unless it was kept."""
        self._rows.close()
        if self._folder.exists():
            shutil.rmtree(self._folder)
