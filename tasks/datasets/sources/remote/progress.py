"""Progress of a download: a line in the log now and then, and an end to what is too slow."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from tasks.datasets.sources.remote.failures import Unreachable
from trainyard.contract.units import MB
from trainyard.durable_files import keep_reserve

SECONDS_BETWEEN_PROGRESS_LINES = 5.0
SLOWEST_BYTES_PER_SECOND = 1000

logger = logging.getLogger(__name__)


class DownloadProgress:
    """A line in the log every few seconds, and an end to what is too slow, or fills the disk.

    ``part``: the file that it is written to, of which ``size`` bytes are there already.
    """

    def __init__(
        self, shown: str, part: Path, size: int, total: int | None, patience_s: float
    ) -> None:
        self._shown, self._total, self._patience_s = shown, total, patience_s
        self._folder = part.parent
        self._size = self._window_size = size
        self._line_at = self._window_at = time.monotonic()

    def at(self, size: int) -> None:
        """``size`` bytes are there. Raises DatasetError if it is too slow, OSError without room."""
        keep_reserve(self._folder)
        now = time.monotonic()
        if now - self._window_at > self._patience_s:
            if size - self._window_size < SLOWEST_BYTES_PER_SECOND * self._patience_s:
                raise Unreachable(
                    f"The server of {self._shown} sends less than 1 kB/s.", "Try again later."
                )
            self._window_at, self._window_size = now, size
        seconds = now - self._line_at
        if seconds > SECONDS_BETWEEN_PROGRESS_LINES:
            of = f" of {self._total / MB:,.0f} MB ({size / self._total:.0%})" if self._total else ""
            speed = (size - self._size) / seconds / MB
            logger.info(
                "Downloaded %s MB%s of %s, %.1f MB/s", f"{size / MB:,.0f}", of, self._shown, speed
            )
            self._line_at, self._size = now, size
