"""The form of a log line: ``[YYYY-MM-DD HH:MM:SS] text`` in UTC, free of control characters."""

from __future__ import annotations

import re
from datetime import UTC, datetime

LINE_CHARACTERS_MAX = 8_192
"""A longer line is cut, and says so; the backend stores lines in one array."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def clean(text: str) -> str:
    """Drop ANSI sequences, show other control characters as ``\\xNN``, cut megabyte lines."""
    text = _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", _ANSI.sub("", text).replace("\t", "    "))
    if len(text) > LINE_CHARACTERS_MAX:
        cut = len(text) - LINE_CHARACTERS_MAX
        text = f"{text[:LINE_CHARACTERS_MAX]} [{cut:,} more characters]"
    return text


def stamp(text: str, at: float | None = None) -> str:
    """The line as the backend, the bridge and ``train.log`` hold it; ``at`` is a UNIX time."""
    when = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return f"[{when:%Y-%m-%d %H:%M:%S}] {clean(text)}"
