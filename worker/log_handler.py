"""A logging handler that batches a job's records into log events.

The supervisor reads what the training process and its children print, line by line, and logs
each line through this handler, as it does its own remarks: one order, one form.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from backend_bridge.contract import LOG_LINES_PER_BATCH
from backend_bridge.log_lines import stamp


class BatchingLogHandler(logging.Handler):
    """Collects lines and hands them on in batches.

    A batch goes to ``sink`` when ``LOG_LINES_PER_BATCH`` lines wait, or at the first
    :meth:`flush_if_due` after the oldest has waited for ``flush_s``. Every line is written to
    ``file`` (the job's complete log) as well. A record of several lines becomes several lines.
    """

    def __init__(
        self, sink: Callable[[Sequence[str]], None], file: TextIO, *, flush_s: float = 1.0
    ) -> None:
        super().__init__()
        self.sink = sink
        self.file = file
        self.flush_s = flush_s
        self._lines: list[str] = []
        self._oldest = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        for text in self.format(record).splitlines() or [""]:
            line = stamp(text, record.created)
            self.file.write(line + "\n")
            if not self._lines:
                self._oldest = time.monotonic()
            self._lines.append(line)
            if len(self._lines) >= LOG_LINES_PER_BATCH:
                self.flush()

    def flush(self) -> None:
        """Hand on what waits, and write the file through."""
        lines, self._lines = self._lines, []
        self.file.flush()
        if lines:
            self.sink(lines)

    def flush_if_due(self) -> None:
        if self._lines and time.monotonic() - self._oldest >= self.flush_s:
            self.flush()
