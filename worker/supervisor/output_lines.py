"""Output lines: from the bytes of a pipe to lines of a log."""

from __future__ import annotations

import time
from collections.abc import Callable

LINE_BYTES_MAX = 65_536
"""Of a longer line the beginning is kept, and a note says how long the rest was."""
_WORD_BYTES_MAX = 8_192
REFRESH_EVERY_S = 1.0
"""A progress bar redraws itself with \\r; at most one such line in this time is kept."""


class LineSplitter:
    """Splits output at ``\\n``; of lines redrawn with ``\\r`` it keeps one a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rest = b""
        self._bytes_cut = 0
        self._last_refresh = -REFRESH_EVERY_S

    def feed(self, data: bytes) -> list[str]:
        """Lines that ``data`` completes. Bytes that are no UTF-8 become U+FFFD."""
        lines: list[str] = []
        if self._bytes_cut:
            data = self._skip(data, lines)
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline:
            # A line's end never is part of a character, so that all can be decoded at once.
            texts = whole.decode(errors="replace").split("\n")
            lines += [_last_state(text) for text in texts] if b"\r" in whole else texts
        lines = [line.rstrip() for line in lines]
        if b"\r" in self._rest:
            self._refresh(lines)
        if len(self._rest) > LINE_BYTES_MAX:
            kept = _end_of_word(self._rest)
            lines.append(self._rest[:kept].decode(errors="replace"))
            self._bytes_cut, self._rest = len(self._rest) - kept, b""
        return lines

    def close(self) -> list[str]:
        """The last line, if the output did not end with one."""
        return self.feed(b"\n") if self._rest or self._bytes_cut else []

    def _skip(self, data: bytes, lines: list[str]) -> bytes:
        """What follows the line whose beginning was handed on already."""
        skipped, end, data = data.partition(b"\n")
        self._bytes_cut += len(skipped)
        if end:
            lines.append(f"[{self._bytes_cut:,} more bytes of this line were cut]")
            self._bytes_cut = 0
        return data

    def _refresh(self, lines: list[str]) -> None:
        """A line that is being redrawn: hand on its last whole state, if one is due."""
        body = self._rest.rstrip(b"\r")  # a bare \r at the end may be half of \r\n
        head, redrawn, _ = body.rpartition(b"\r")
        if not redrawn:
            return
        self._rest = self._rest[len(head) + 1 :]
        now, text = self._clock(), _last_state(head.decode(errors="replace")).strip()
        if text and now - self._last_refresh >= REFRESH_EVERY_S:
            self._last_refresh = now
            lines.append(text)


def _end_of_word(data: bytes) -> int:
    """Where to cut a line that is too long: half of a word may be a secret that nobody can tell."""
    space = data.rfind(b" ", LINE_BYTES_MAX - _WORD_BYTES_MAX, LINE_BYTES_MAX + 1)
    return LINE_BYTES_MAX if space < 0 else space


def _last_state(text: str) -> str:
    return text.rstrip("\r").rpartition("\r")[2]
