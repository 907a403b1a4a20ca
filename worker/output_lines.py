"""From the bytes of a pipe to lines of a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

LINE_BYTES_MAX = 65_536
"""Bytes without an end of line that are held before they count as a line."""
REFRESH_EVERY_S = 1.0
"""A progress bar redraws itself with \\r; at most one such line in this time is kept."""


class LineSplitter:
    """Splits output at ``\\n``; of lines redrawn with ``\\r`` it keeps one a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rest = b""
        self._last_refresh = -REFRESH_EVERY_S

    def feed(self, data: bytes) -> Iterator[str]:
        """Lines that ``data`` completes. Bytes that are no UTF-8 become U+FFFD."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from self._finished(line)
        body = self._rest.rstrip(b"\r")  # a bare \r at the end may be half of \r\n
        head, cr, _ = body.rpartition(b"\r")
        if cr:
            self._rest = self._rest[len(head) + 1 :]
            yield from self._refreshed(head)
        while len(self._rest) >= LINE_BYTES_MAX:
            yield self._rest[:LINE_BYTES_MAX].decode(errors="replace")
            self._rest = self._rest[LINE_BYTES_MAX:]

    def close(self) -> Iterator[str]:
        """The last line, where the output did not end with one."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._finished(rest)

    def _finished(self, line: bytes) -> Iterator[str]:
        text = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
        yield text.rstrip()

    def _refreshed(self, redrawn: bytes) -> Iterator[str]:
        now = self._clock()
        text = redrawn.rpartition(b"\r")[2].decode(errors="replace").strip()
        if text and now - self._last_refresh >= REFRESH_EVERY_S:
            self._last_refresh = now
            yield text
