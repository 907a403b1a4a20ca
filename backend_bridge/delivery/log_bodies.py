"""Bodies of log lines: how many fit into one, and the line that stands for those cut.

Both follow from the job's stored progress only: a retry, by whichever sender, has the same lines
under the same key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from trainyard.store.delivery_state import DeliveryProgress, Gap

BODY_BYTES_MIN = 1024
"""A backend that refuses even this as too large will never take the line."""

_STAMP_LENGTH = len("[2026-01-01 00:00:00]")
_AROUND_BYTES = len('{"logs": []}')
_NOTE_BYTES = len(" [999,999,999 more characters]")


def fitting(lines: Sequence[str], body_bytes: int) -> list[str]:
    """The first lines whose body is no larger; of a line that is larger itself its beginning."""
    if _bytes({"logs": lines}) <= body_bytes:
        return list(lines)
    taken, size = list[str](), _AROUND_BYTES
    for line in lines:
        size += _bytes(line) + len(", ")
        if size > body_bytes:
            break
        taken.append(line)
    return taken or [_cut(lines[0], body_bytes - _AROUND_BYTES - _NOTE_BYTES)]


def halve(progress: DeliveryProgress, body: Mapping[str, Any]) -> bool:
    """Note that a body with these lines or points was too large; False if it cannot be smaller."""
    size = _bytes(body)
    progress.body_bytes = max(BODY_BYTES_MIN, size // 2)
    return size > BODY_BYTES_MIN


def gap_of(cut: int, key: str, first_line: int, lines: Sequence[str]) -> Gap:
    """The line that stands for ``cut`` lines before the entry with ``key`` and ``lines``.

    If more is cut before the next try, that try repeats this line with this key, and another line
    follows for the rest. So every line is either delivered or counted once.
    """
    stamp = lines[0][:_STAMP_LENGTH] if lines else ""
    if not (len(stamp) == _STAMP_LENGTH and stamp[0] == "[" and stamp[-1] == "]"):
        stamp = f"[{datetime.now(UTC):%Y-%m-%d %H:%M:%S}]"
    were = "1 log line was" if cut == 1 else f"{cut} log lines were"
    line = f"{stamp} … {were} cut here (the complete log lies in the job's folder)"
    return Gap(f"{key}-gap", line, first_line)


def _bytes(value: Any) -> int:
    return len(json.dumps(value))  # plain ASCII, as it goes out


def _cut(line: str, room: int) -> str:
    kept = len(line)
    while (size := _bytes(line[:kept])) > room:
        kept = min(kept - 1, kept * room // size)
    return f"{line[:kept]} [{len(line) - kept:,} more characters]"
