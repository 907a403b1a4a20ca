"""Logs of the services: bounded, however often something goes wrong, and free of what forges lines.

An error that repeats is said once a minute, with how often it came; so is a kind of error past the
first hundred a minute.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from trainyard.contract.units import MB

EVERY_S = 60.0
OF_A_KIND_MAX = 100
"""Of different errors from one line of code, a minute."""
KEPT_MAX = 1000
"""Errors that are remembered at a time."""
TIME = "%Y-%m-%dT%H:%M:%SZ"
LOG_BYTES_MAX = 64 * MB
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_INDENT = "\n    "


class Repeated(logging.Filter):
    """Lets a warning or an error pass once a minute, and says how often it came meanwhile."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._minute = -EVERY_S
        self._same: dict[tuple[str, str], int] = {}
        self._of_a_kind: dict[tuple[str, str], int] = {}
        self._before: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        now = self._clock()
        if now - self._minute >= EVERY_S:
            self._minute = now
            self._before = {key: count - 1 for key, count in self._same.items() if count > 1}
            self._same, self._of_a_kind = {}, {}
        kind = (record.name, str(record.msg)[:200])
        same = (record.name, record.getMessage()[:200])
        if same in self._same:
            self._same[same] += 1
            return False
        if len(self._same) >= KEPT_MAX or self._of_a_kind.get(kind, 0) >= OF_A_KIND_MAX:
            return False
        self._same[same] = 1
        self._of_a_kind[kind] = self._of_a_kind.get(kind, 0) + 1
        if repeated := self._before.pop(same, 0):
            record.msg, record.args = f"{record.getMessage()} (and {repeated:,} times before)", ()
        return True


class OneLineFormatter(logging.Formatter):
    """A record whose message forges no other one: control characters are shown, lines indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # logging's name
        return printable(super().formatException(ei))  # type: ignore[arg-type]  # as it comes


def printable(text: str) -> str:
    """``text`` with control characters as ``\\xNN``, its later lines indented."""
    shown = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return shown.replace("\n", _INDENT)


def service_formatter(name: str) -> OneLineFormatter:
    """Of the lines of the service ``name``: time (UTC), level, message."""
    formatter = OneLineFormatter(f"%(asctime)s {name} %(levelname)s %(message)s", TIME)
    formatter.converter = time.gmtime
    return formatter


def log_to_stderr(name: str) -> None:
    """Set up the log of the service ``name``: to stderr, where its keeper puts it into a file."""
    handler = logging.StreamHandler()
    handler.setFormatter(service_formatter(name))
    handler.addFilter(Repeated())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def rotate(log_file: Path) -> None:
    """Begin a log anew that has grown too large; the one before it is kept as ``.1``.

    Who writes it appends, and goes on in the same file.
    """
    try:
        if log_file.stat().st_size <= LOG_BYTES_MAX:
            return
    except FileNotFoundError:
        return
    older = log_file.with_name(f"{log_file.name}.1")
    with log_file.open("r+b") as log, older.open("wb") as kept:
        while block := log.read(MB):
            kept.write(block)
        log.truncate(0)
