"""Bodies of log lines: how many fit into one, and the line that stands for those cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from backend_bridge.delivery.messages import BackendMessage, key_of
from trainyard.store.delivery_state import DeliveryProgress, Gap
from trainyard.store.event_log import Entry

_LINES = TypeAdapter(list[str])
_STAMP_LENGTH = len("[2026-01-01 00:00:00]")
_AROUND_BYTES = len('{"logs": []}')
_NOTE_BYTES = len(" [999,999,999 more characters]")


def log_message(
    job_id: str, entry: Entry, progress: DeliveryProgress, noted: int
) -> BackendMessage:
    """``POST .../logs``: the next lines of an entry. Raises ValueError or KeyError if it has none.

    The key of a later part says how many of its lines came before. If lines before it were cut, the
    line that stands for them and ``noted`` more goes first.
    """
    key, lines = key_of(job_id, entry), _LINES.validate_json(entry.fields["data"])
    first_line = 0 if entry.again else int(entry.fields["first_line"])
    before = progress.part if entry.again else max(0, progress.next_line - first_line)
    if not lines[before:]:
        raise ValueError("it holds no line that is to be sent")
    is_cut = not entry.again and not progress.gap and first_line > progress.next_line
    if is_cut:
        progress.gap = _gap(first_line - progress.next_line + noted, key, first_line, lines)
    if (gap := progress.gap) and not entry.again:
        body = {"logs": [gap.line]}
        return BackendMessage("logs", gap.key, body, entry, next_line=gap.to, is_new=is_cut)
    part = _fitting(lines[before:], progress.body_bytes)
    until = before + len(part)
    to = entry.entry_id if until >= len(lines) else ""
    key = f"{key}+{before}" if before else key
    return BackendMessage("logs", key, {"logs": part}, entry, to, next_line=first_line + until)


def _fitting(lines: Sequence[str], body_bytes: int) -> list[str]:
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


def _gap(cut: int, key: str, first_line: int, lines: Sequence[str]) -> Gap:
    """The line that stands for ``cut`` lines before the entry with ``key`` and ``lines``.

    If more is cut before the next try, that try repeats this line with this key, and another line
    follows for the rest. So every line is either delivered or counted once.
    """
    stamp = lines[0][:_STAMP_LENGTH]
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
