"""Which log lines go out in one request, and the line that stands for those that were cut.

Both are written into the claim before they are sent: a retry, by whichever sender, has the same
lines under the same key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from backend_bridge.delivery.cursor import Claim
from backend_bridge.delivery.messages import LogMessage, read_entry
from backend_bridge.delivery.outbox import Outbox
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.store.event_log import Entry

BATCH_CHARACTERS_MAX = 65_536
"""Short entries are put together up to this size; a single entry may be larger."""

_STAMP_LENGTH = len("[2026-01-01 00:00:00]")


def plan_batch(claim: Claim, following: Iterable[Entry]) -> None:
    """Note in the claim up to which line the next request goes, where it is more than one entry.

    It is called before the claim is stored with what was just delivered. So a request of several
    entries is always in the store before it is sent; where nothing is noted, it is of one.
    """
    messages = []
    lines = characters = 0
    next_line = claim.number("next_line")
    for entry in following:
        if entry.kind == "status":
            break  # what was logged before a status is not mixed with what came after
        if entry.kind != "log" or int(entry.fields.get("first_line", 0)) < next_line:
            continue  # it goes out by itself, or went out in a batch
        try:
            message = read_entry(claim.job_id, entry)
        except (KeyError, ValueError):
            break
        if not isinstance(message, LogMessage) or message.first_line != next_line:
            break
        lines += len(message.lines)
        characters += sum(len(line) for line in message.lines)
        if lines > LOG_LINES_PER_BATCH or characters > BATCH_CHARACTERS_MAX:
            break
        messages.append(message)
        next_line = message.next_line
        if lines == LOG_LINES_PER_BATCH:
            break
    claim.put("batch_to", messages[-1].next_line if len(messages) > 1 else "")


def batch_of(
    claim: Claim, message: LogMessage, entry: Entry, following: Iterable[Entry], outbox: Outbox
) -> tuple[LogMessage, list[Entry]]:
    """The request that begins with ``message``, which is ``entry``, and the entries it holds.

    ``following``: entries known to follow; more are read where the plan goes beyond them.
    """
    to = claim.number("batch_to")
    lines, entries = list(message.lines), [entry]
    if to <= message.next_line:  # no plan, or one for lines that were cut since
        return message, entries
    for other in _beyond(claim, entry, following, outbox):
        if other.kind == "log":
            lines += json.loads(other.fields["data"])
            entries.append(other)
            if message.first_line + len(lines) >= to:
                break
    return LogMessage(message.key, lines, message.first_line + len(lines)), entries


def _beyond(
    claim: Claim, entry: Entry, following: Iterable[Entry], outbox: Outbox
) -> Iterable[Entry]:
    last = entry
    page = list(following)
    while True:
        for last in page:
            yield last
        page = outbox.read(claim.job_id, last.entry_id)
        if not page:
            return


def gap_before(claim: Claim, message: LogMessage, outbox: Outbox) -> LogMessage | None:
    """The line that says how many log lines were cut before ``message``, where some were.

    Where more is cut before the next try, that try repeats this line with this key, and another
    line follows for the rest. So every line is either delivered or counted once.
    """
    if not claim.state.get("gap"):
        next_line = claim.number("next_line")
        cut = message.first_line - next_line
        if cut <= 0:
            return None
        cut += outbox.lines_noted(claim.job_id, next_line, message.first_line)
        gap = {
            "key": f"{message.key}-gap",
            "line": _gap_line(message, cut),
            "to": message.first_line,
        }
        claim.put("gap", json.dumps(gap))
        claim.put("batch_to", "")  # what was planned is cut
    stored = json.loads(claim.state["gap"])
    return LogMessage(stored["key"], [stored["line"]], stored["to"])


def _gap_line(message: LogMessage, cut: int) -> str:
    stamp = message.lines[0][:_STAMP_LENGTH] if message.lines else ""
    if not (len(stamp) == _STAMP_LENGTH and stamp[0] == "[" and stamp[-1] == "]"):
        stamp = f"[{datetime.now(UTC):%Y-%m-%d %H:%M:%S}]"
    lines = "1 log line was" if cut == 1 else f"{cut} log lines were"
    return f"{stamp} … {lines} cut here (the complete log lies in the job's folder)"
