"""Rows of plain text: paragraphs, or lines where no blank line parts any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.datasets.readers.encoding import NotUtf8
from tasks.datasets.readers.problems import Fault, Problems, fault_of_text
from tasks.datasets.readers.rows import Found, Rows, in_batches

LONGEST_ROW = 256 * 1024 * 1024
_TOO_LONG = Fault(f"it is longer than {LONGEST_ROW:,} characters", "Part it with blank lines.")


def read_text(path: Path, name: str, problems: Problems, *, damaged: bool) -> Iterator[Rows]:
    """Yield the rows, of one column ``text``. Raises NotUtf8; see :func:`json_lines.read_jsonl`."""
    errors = "surrogateescape" if damaged else "strict"
    try:
        paragraphs = _paragraphs(path, _has_blank_line(path), errors)
        yield from in_batches((_found(*each) for each in paragraphs), name, problems)
    except UnicodeDecodeError as error:
        raise NotUtf8 from error


def _found(line: int, text: str) -> Found:
    fault = _TOO_LONG if len(text) > LONGEST_ROW else fault_of_text(text)
    return line, fault or {"text": text}, len(text)


def _has_blank_line(path: Path) -> bool:
    """Whether a blank line stands between two that are not: one at either end parts nothing."""
    state = "before"
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                if state == "blank":
                    return True
                state = "text"
            elif state == "text":
                state = "blank"
    return False


def _paragraphs(path: Path, by_paragraph: bool, errors: str) -> Iterator[tuple[int, str]]:
    paragraph: list[str] = []
    start = 1
    with path.open(encoding="utf-8-sig", errors=errors) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                start = start if paragraph else number
                paragraph.append(line)
            if paragraph and (not line.strip() or not by_paragraph):
                yield start, "".join(paragraph).rstrip("\n")
                paragraph = []
    if paragraph:
        yield start, "".join(paragraph).rstrip("\n")
