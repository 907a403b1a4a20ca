"""Notes of pull mode: what was claimed and is not admitted yet, on disk before anything follows.

A claim is asked for only after its note is written, and its answer is written before it is used. So
whatever ends this process, the next one finds out: a note with a token is admitted; one without is
claimed again. If that is refused, the first answer was lost with its token: nobody can run the job
or report on it, and the note stays for people, as ``{job}.lost``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainyard.durable_files import sync, write_atomically
from trainyard.scheduling.pull import LOST_SUFFIX

_SUFFIX = ".json"


class PullNotes:
    """Notes in one folder, a file a job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, job_id: str, note: Mapping[str, Any]) -> None:
        """Have ``note`` on the disk; it may hold the job's token."""
        write_atomically(self._path(job_id), json.dumps(note), mode=0o600)
        sync(self.folder)

    def forget(self, job_id: str) -> None:
        """The job is somebody else's, or in the job store."""
        self._path(job_id).unlink(missing_ok=True)
        sync(self.folder)

    def lose(self, job_id: str) -> None:
        """Leave the note for people."""
        self._path(job_id).rename(self.folder / f"{job_id}{LOST_SUFFIX}")
        sync(self.folder)

    def left(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Jobs and their notes, the oldest first."""
        for path in sorted(self.folder.glob(f"*{_SUFFIX}"), key=lambda one: one.stat().st_mtime):
            yield path.name.removesuffix(_SUFFIX), json.loads(path.read_text())

    def _path(self, job_id: str) -> Path:
        return self.folder / f"{job_id}{_SUFFIX}"
