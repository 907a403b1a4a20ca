"""Job folder, as the supervisor prepares it: the request, the complete log, the metrics."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainyard.contract.errors import ErrorKind
from trainyard.contract.job_folder import LOG, LOG_BEFORE, METRICS, PUT_BACK, REQUEST
from trainyard.contract.names import attempt_id
from trainyard.contract.units import MB
from trainyard.durable_files import keep_reserve, write_atomically
from worker.supervisor.loss import AttemptLost

LOG_BYTES_MAX = 256 * MB
"""Of a longer log the file begins anew; the one before it is kept."""

logger = logging.getLogger(__name__)


def prepare(folder: Path, request: Mapping[str, Any]) -> None:
    """Make the folder and ``request.json``. Raises AttemptLost if the disk is full."""
    with _full_disk_is_the_slots():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PUT_BACK).unlink(missing_ok=True)  # of an attempt before
        write_atomically(folder / REQUEST, json.dumps(request, indent=1))


def note_put_back(folder: Path, attempt: int) -> None:
    """Leave word that an attempt gave its job back, in case that Redis cannot be told any more."""
    try:
        write_atomically(folder / PUT_BACK, str(attempt))
    except OSError as error:  # Redis is told, as a rule
        logger.error(
            "%s: that it was put back cannot be noted: %s",
            attempt_id(folder.name, attempt),
            error,
            extra={"action": "put_back_not_noted", "job_id": folder.name},
        )


@contextlib.contextmanager
def _full_disk_is_the_slots() -> Iterator[None]:
    """No fault of the job, which has written nothing yet: it waits for a slot with room."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or "the job's folder"
        reason = f"The disk is full: {where} cannot be written."
        raise AttemptLost(reason, ErrorKind.DISK_FULL, of_slot=True) from error


class Record:
    """A file of lines that grows; whoever kills us finds every line in it that we were told.

    ``end`` is its length after the last line. A full disk costs lines here, not the job: what is
    appended goes to the backend all the same. Nothing is written any more once ``is_ours`` says no:
    another attempt of the job may be writing then.
    """

    def __init__(self, path: Path, is_ours: Callable[[], bool] = lambda: True) -> None:
        self.path = path
        self._is_ours = is_ours
        self._file = path.open("ab", buffering=0)
        self.end = path.stat().st_size
        self._complete = True
        if self.end and not _ends_a_line(path):  # a kill or a full disk cut the last one
            self.append("\n")

    def append(self, text: str) -> None:
        """Write whole lines. Each write is one system call: a kill leaves no buffer behind."""
        if not self._is_ours():
            return
        data, written = text.encode(errors="replace"), 0
        try:
            self._make_room()
            while written < len(data):
                written += self._file.write(data[written:])
            self.end = self._file.tell()
        except OSError as error:
            if written:  # the next line would go on where this one broke off
                self._file.truncate(self.end)
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

    def _make_room(self) -> None:
        """Before each write; an OSError costs what was to be written."""


class LogFile(Record):
    """The complete log of a job, whose training may print without an end."""

    def _make_room(self) -> None:
        keep_reserve(self.path.parent)
        if self.end > LOG_BYTES_MAX:
            self._file.close()
            self.path.replace(self.path.with_name(LOG_BEFORE))
            self._file = self.path.open("ab", buffering=0)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


@contextlib.contextmanager
def open_records(
    folder: Path, is_ours: Callable[[], bool] = lambda: True
) -> Iterator[tuple[Record, Record]]:
    """``train.log`` and ``metrics.jsonl``, to append to for as long as the job ``is_ours``. Raises
    AttemptLost if there is no room to make them."""
    with contextlib.ExitStack() as files:
        with _full_disk_is_the_slots():
            log_record = files.enter_context(contextlib.closing(LogFile(folder / LOG, is_ours)))
            metrics = files.enter_context(contextlib.closing(Record(folder / METRICS, is_ours)))
        yield log_record, metrics
