"""Job folder, as the supervisor prepares it: the request, the complete log, the metrics."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainyard.contract.job_folder import LOG, METRICS, PUT_BACK, REQUEST
from trainyard.durable_files import write_atomically

logger = logging.getLogger(__name__)


def prepare(folder: Path, request: Mapping[str, Any]) -> None:
    """Make the folder and ``request.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PUT_BACK).unlink(missing_ok=True)  # of an attempt before
    write_atomically(folder / REQUEST, json.dumps(request, indent=1))


def note_put_back(folder: Path, attempt: int) -> None:
    """Leave word that an attempt gave its job back, in case that Redis cannot be told any more."""
    write_atomically(folder / PUT_BACK, str(attempt))


class Record:
    """A file of lines that grows; whoever kills us finds every line in it that we were told.

    ``end`` is its length after the last line. A full disk costs lines here, not the job: what is
    appended goes to the backend all the same.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self.end = path.stat().st_size
        self._complete = True
        if self.end and not _ends_a_line(path):  # a kill or a full disk cut the last one
            self.append("\n")

    def append(self, text: str) -> None:
        """Write whole lines. Each write is one system call: a kill leaves no buffer behind."""
        data = text.encode(errors="replace")
        try:
            while data:
                data = data[self._file.write(data) :]
            self.end = self._file.tell()
        except OSError as error:
            if self._complete:
                logger.error(
                    "%s cannot be written: %s",
                    self.path,
                    error,
                    extra={"action": "record_broken", "job_id": self.path.parent.name},
                )
            self._complete = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


@contextlib.contextmanager
def open_records(folder: Path) -> Iterator[tuple[Record, Record]]:
    """``train.log`` and ``metrics.jsonl``, to append to."""
    with (
        contextlib.closing(Record(folder / LOG)) as log_record,
        contextlib.closing(Record(folder / METRICS)) as metrics,
    ):
        yield log_record, metrics
