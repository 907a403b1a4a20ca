"""Log lines, in one form: ``[YYYY-MM-DD HH:MM:SS] text`` in UTC, free of control characters."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from trainyard.redaction import Redactor

LINE_CHARACTERS_MAX = 8_192
"""A longer line is cut, and says so; the backend stores lines in one array."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_IN_JOINED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def clean(text: str) -> str:
    """Drop ANSI sequences, show other control characters as ``\\xNN``, cut megabyte lines."""
    return _cut(_escape(text))


def stamp(text: str, at: float | None = None) -> str:
    """The line as the backend, the bridge and ``train.log`` hold it; ``at`` is a UNIX time."""
    return f"{_prefix(time.time() if at is None else at)}{clean(text)}"


def stamp_all(texts: Sequence[str], at: float, redactor: Redactor) -> list[str]:
    """:func:`stamp` of many lines of the same moment, without secrets.

    A secret is looked for in the whole line, before it is cut.
    """
    if _CONTROL_IN_JOINED.search("\n".join(texts)):
        texts = [_escape(text) for text in texts]
    prefix = _prefix(at)
    return [prefix + _cut(text) for text in redactor.lines(texts)]


def _prefix(at: float) -> str:
    return f"[{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}] "


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", _ANSI.sub("", text).replace("\t", "    "))


def _cut(text: str) -> str:
    if len(text) <= LINE_CHARACTERS_MAX:
        return text
    cut = len(text) - LINE_CHARACTERS_MAX
    return f"{text[:LINE_CHARACTERS_MAX]} [{cut:,} more characters]"
