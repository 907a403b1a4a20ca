"""Downloads: the file that a URL was fetched to, and if the remote one has changed since."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from tasks.datasets.cache import cached
from tasks.datasets.sources.remote.failures import Unreachable
from tasks.datasets.sources.remote.http import Download, TransferLimits, Validators
from tasks.errors import DatasetError

_LONGEST_SUFFIX = 20

logger = logging.getLogger(__name__)

Fetch = Callable[[Path, Validators], Validators | None]
"""Fetches to a path; None where what the validators tell has not changed."""


@dataclass(frozen=True)
class Fetched:
    """A file of the cache, named by its content, and what its source was called."""

    path: Path
    name: str


@dataclass(frozen=True)
class DownloadStore:
    """Downloads below ``folder``: files by their content, and by URL what they are."""

    folder: Path
    limits: TransferLimits

    def fetch_url(
        self, url: str, *, headers: dict[str, str] | None = None, sha256: str | None = None
    ) -> Fetched:
        """The file at an http or https URL. Raises DatasetError."""
        name = PurePosixPath(url.partition("?")[0].partition("#")[0]).name or "data"

        def fetch(part: Path, known: Validators) -> Validators | None:
            return Download(url, part, self.limits, headers or {}, sha256).run(known)

        return self.fetch(url, name, fetch)

    def fetch(self, reference: str, name: str, fetch: Fetch) -> Fetched:
        """The file of ``reference``, fetched where it is new or has changed. Raises DatasetError.

        Where the server cannot be reached the file of last time is used, and the log says so.
        """
        key = hashlib.sha256(reference.encode()).hexdigest()[:32]
        for below in ("content", "references", "partial"):
            (self.folder / below).mkdir(parents=True, exist_ok=True)
        record = self.folder / "references" / f"{key}.json"
        with self._only_one(key):
            kept, validators = self._kept(record)
            try:
                found = fetch(self.folder / "partial" / key, validators)
            except Unreachable as error:
                if kept is None:
                    raise
                logger.warning("%s The copy of the last time is used.", error.sentence)
                return Fetched(kept, name)
            if found is None and kept is not None:
                return Fetched(kept, name)
            if found is None:
                raise DatasetError(f"The server says that {name!r} has not changed, unasked.")
            if kept is not None:
                logger.info("%s has changed since the last time, or may have: fetched again", name)
            path = self._file_by_content(self.folder / "partial" / key, name)
            partial = record.with_suffix(".partial")
            partial.write_text(json.dumps({"file": path.name, **asdict(found)}))
            partial.replace(record)
            return Fetched(path, name)

    def _kept(self, record: Path) -> tuple[Path | None, Validators]:
        try:
            facts = json.loads(record.read_bytes()) if cached(record) else None
        except ValueError:
            facts = None
        if facts is None:
            return None, Validators()
        path = self.folder / "content" / facts.pop("file")
        return (path, Validators(**facts)) if cached(path) else (None, Validators())

    def _file_by_content(self, part: Path, name: str) -> Path:
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        suffix = "".join(PurePosixPath(name).suffixes[-2:])
        path = self.folder / "content" / f"{digest}{suffix[-_LONGEST_SUFFIX:]}"
        if cached(path):
            part.unlink()  # keeps the file that others may read, and what is known of it
        else:
            part.replace(path)
        return path

    @contextmanager
    def _only_one(self, key: str) -> Iterator[None]:
        """Two jobs that want the same file fetch it once."""
        with (self.folder / "partial" / f"{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
