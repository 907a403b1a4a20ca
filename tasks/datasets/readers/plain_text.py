"""Rows of plain text: paragraphs, or lines where no blank line parts any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.datasets.readers.encoding import NotUtf8
from tasks.datasets.readers.problems import Problems, ReadProblem, fault_of_text
from tasks.datasets.readers.rows import Row, Rows

ROWS_PER_BATCH = 1000
LONGEST_ROW = 256 * 1024 * 1024
_TOO_LONG = f"it is longer than {LONGEST_ROW:,} characters", "Part it with blank lines."


def read_text(path: Path, name: str, problems: Problems, *, damaged: bool) -> Iterator[Rows]:
    """Yield the rows, of one column ``text``. Raises NotUtf8; see :func:`json_lines.read_jsonl`."""
    errors = "surrogateescape" if damaged else "strict"
    try:
        by_paragraph = _has_blank_line(path)
        rows: list[Row] = []
        lines: list[int] = []
        for line, text in _paragraphs(path, by_paragraph, errors):
            fault = _TOO_LONG if len(text) > LONGEST_ROW else fault_of_text(text)
            if fault is not None:
                problems.add(ReadProblem(name, line, *fault))
                continue
            rows.append({"text": text})
            lines.append(line)
            if len(rows) == ROWS_PER_BATCH:
                yield Rows(rows, lines)
                rows, lines = [], []
        yield Rows(rows, lines)
    except UnicodeDecodeError as error:
        raise NotUtf8 from error


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
