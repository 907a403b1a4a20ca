"""Log handler of a job: batches its lines into log events.

The supervisor reads what the training process and its children print, line by line, and puts
each line through this handler, as it does its own remarks: one order, one form.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.log_lines import stamp_all
from trainyard.redaction import Redactor
from worker.supervisor.job_folder import Record

BATCH_CHARACTERS_MAX = 250_000
"""Of long lines a batch holds fewer."""


class BatchingLogHandler(logging.Handler):
    """Collects lines and hands them on in batches.

    A batch goes to ``sink``, with the length of ``file`` (the job's complete log) up to its last
    line, when ``LOG_LINES_PER_BATCH`` lines wait, or at the first :meth:`flush_if_due` after the
    oldest has waited for ``flush_s``. Every line is written to ``file`` at once. Secrets are taken
    out before either. A record of several lines becomes several lines.
    """

    def __init__(
        self,
        sink: Callable[[Sequence[str], int], None],
        file: Record,
        redactor: Redactor,
        *,
        flush_s: float = 1.0,
    ) -> None:
        super().__init__()
        self.sink = sink
        self.file = file
        self.redactor = redactor
        self.flush_s = flush_s
        self._lines: list[str] = []
        self._characters = 0
        self._oldest = 0.0

    def say(self, text: str, level: int = logging.INFO) -> None:
        """Words of the supervisor's own; every line of them has the level."""
        for line in text.splitlines():
            self.handle(logging.LogRecord("job", level, "", 0, line, None, None))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines(self.format(record).splitlines() or [""], record.created)

    def lines(self, texts: Sequence[str], at: float | None = None) -> None:
        """Take lines as they were printed, all at the UNIX time ``at``, or now."""
        stamped = stamp_all(texts, time.time() if at is None else at, self.redactor)
        longest = max(map(len, stamped), default=0) + 1
        while stamped:
            fitting = (BATCH_CHARACTERS_MAX - self._characters) // longest
            room = min(fitting, LOG_LINES_PER_BATCH - len(self._lines))
            self._add(stamped[:room])
            stamped = stamped[room:]
            if len(self._lines) >= LOG_LINES_PER_BATCH or fitting <= room:
                self.flush()

    def _add(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        text = "\n".join(lines) + "\n"
        self.file.append(text)
        if not self._lines:
            self._oldest = time.monotonic()
        self._lines += lines
        self._characters += len(text)

    def flush(self) -> None:
        """Hand on what waits."""
        lines, self._lines, self._characters = self._lines, [], 0
        if lines:
            self.sink(lines, self.file.end)

    def flush_if_due(self) -> None:
        if self._lines and time.monotonic() - self._oldest >= self.flush_s:
            self.flush()
