"""Clock of a process, as a test sets it: libfaketime, which is a package of Debian's."""

from __future__ import annotations

from pathlib import Path

LIBRARIES = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
"""Empty if it is not installed."""


class FakedClock:
    """Wall clock of every process that has ``environment``; their monotonic one goes on.

    ``offset`` is the file that they read it from.
    """

    def __init__(self, offset: Path) -> None:
        self._offset, self.offset_s = offset, 0
        self.set_by(0)
        self.environment = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set_by(self, by_s: int) -> None:
        """Set it forward, or back."""
        self.offset_s += by_s
        aside = self._offset.with_suffix(".new")
        aside.write_text(f"{self.offset_s:+d}\n")
        aside.replace(self._offset)
