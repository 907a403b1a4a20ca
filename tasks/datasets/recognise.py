"""Recognise what a file is: from its bytes, its name second."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tasks.datasets.encoding import encoding_of_head
from tasks.errors import DatasetError

FormatName = Literal["jsonl", "json", "csv", "parquet", "arrow", "text"]
ShapeName = Literal["text", "prompt_completion", "dialogue", "messages", "preference", "prompt"]

SNIFFED_BYTES = 256 * 1024
_LONGEST_FIRST_LINE = 16 * 1024 * 1024
_DELIMITERS = (",", "\t", ";", "|")
_TABLES = (".csv", ".tsv", ".tab", ".psv")
_PROSE = (".txt", ".text", ".md")
_ARROW_MAGICS = (b"ARROW1", b"\xff\xff\xff\xff")
_NO_DATA = {
    b"%PDF": "a PDF document",
    b"\x80\x04\x95": "a Python pickle, which is never opened: it can run code",
    b"\x80\x05\x95": "a Python pickle, which is never opened: it can run code",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"SQLite format 3": "an SQLite database",
    b"FEA1": "a Feather file of version 1",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "a bzip2 file",
    b"Rar!": "a RAR archive",
}


@dataclass(frozen=True)
class Format:
    """What a file is. ``delimiter`` is for CSV; ``encoding`` for formats of text."""

    name: FormatName
    delimiter: str | None = None
    encoding: str = "utf-8"


def recognise_format(path: Path) -> Format:
    """Recognise the file at ``path``, not compressed. Raises DatasetError where it is no data."""
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
        if b"\n" not in head:
            head += file.readline(_LONGEST_FIRST_LINE)
    if head.startswith(b"PAR1"):
        return Format("parquet")
    if head.startswith(_ARROW_MAGICS):
        return Format("arrow")
    _refuse_what_is_no_data(head, path)
    encoding = encoding_of_head(head)
    if encoding is None:
        raise DatasetError(
            f"The data set {path.name!r} is a binary file of no known format.",
            "Save it as CSV, JSON lines or Parquet.",
        )
    text = head.decode(encoding, "replace")
    if not text.strip("\ufeff \t\r\n"):
        raise DatasetError(f"The data set {path.name!r} is empty.")
    suffix = path.suffix.lower()
    structured = _json_kind(text, suffix)
    if structured is not None:
        return Format(structured, encoding=encoding)
    if suffix in _PROSE:
        return Format("text", encoding=encoding)
    delimiter = recognise_delimiter(text)
    if delimiter is None and suffix not in _TABLES:
        return Format("text", encoding=encoding)
    return Format("csv", delimiter=delimiter or ",", encoding=encoding)


def _refuse_what_is_no_data(head: bytes, path: Path) -> None:
    what = next((name for magic, name in _NO_DATA.items() if head.startswith(magic)), None)
    if head[257:262] == b"ustar":
        what = "a tar archive"
    if what is not None:
        raise DatasetError(
            f"The data set {path.name!r} is {what}.", "Save it as CSV, JSON lines or Parquet."
        )


def _json_kind(text: str, suffix: str) -> Literal["json", "jsonl"] | None:
    start = text.lstrip("\ufeff \t\r\n")
    if start[0] == "[" and suffix not in (*_TABLES, *_PROSE):
        return "json"
    if start[0] != "{":
        return "jsonl" if suffix in (".jsonl", ".ndjson") else "json" if suffix == ".json" else None
    first, newline, rest = start.partition("\n")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        # A pretty-printed object, or a broken first line that the reader will name.
        return "json" if suffix == ".json" or first.strip() == "{" else "jsonl"
    return "jsonl" if newline and rest.strip() else "json"


def recognise_delimiter(text: str) -> str | None:
    """The delimiter under which the first records have the same number (>1) of fields."""
    lines = text.splitlines(keepends=True)
    sample = "".join(lines[:200] if len(text) < SNIFFED_BYTES else lines[:200][:-1] or lines)
    best: tuple[int, str] | None = None
    for delimiter in _DELIMITERS:
        try:
            rows = [row for row in csv.reader(io.StringIO(sample), delimiter=delimiter) if row]
        except csv.Error:
            continue
        if not rows or len(rows[0]) < 2:
            continue
        agreeing = sum(len(row) == len(rows[0]) for row in rows)
        # A header that most rows agree with; a ragged row is for the reader to name.
        if agreeing * 2 > len(rows) and (best is None or len(rows[0]) > best[0]):
            best = (len(rows[0]), delimiter)
    return best[1] if best else None


@dataclass(frozen=True)
class Shape:
    """What the columns mean: ``columns`` maps a role to the column that plays it.

    Roles: ``text``; ``prompt`` and ``completion``; ``instruction``, ``answer`` and, where there
    are, ``input`` and ``system`` (a dialogue); ``messages``; ``chosen``, ``rejected`` and, unless
    those hold it, ``prompt`` (a preference).
    """

    name: ShapeName
    columns: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """The shape in words: ``dialogue (instruction=question, answer=answer)``."""
        roles = ", ".join(f"{role}={column}" for role, column in self.columns.items())
        return f"{self.name} ({roles})"


_ANSWERS = ("answer", "output", "response", "completion")
_DIALOGUES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("instruction", ("output", "response", "answer", "completion")),
    ("question", ("answer", "response", "output")),
    ("prompt", ("response", "output", "answer")),
    ("input", ("output", "response")),
)

SFT_NEEDS = (
    "sft needs one of: text; prompt and completion; question and answer; instruction and output "
    "or response (with or without input); messages (role, content); conversations (from, value). "
    "Other names can be told with config.data.columns, as in "
    '{"prompt": "your column", "completion": "your other column"}, or config.data.text_field.'
)


def recognise_shape(
    columns: Sequence[str],
    *,
    text_field: str | None = None,
    told: Mapping[str, str] | None = None,
) -> Shape:
    """Recognise what ``columns`` mean for supervised fine-tuning.

    ``told`` is ``config.data.columns`` (role → column), ``text_field`` is
    ``config.data.text_field``. Raises DatasetError that names the columns and what is needed.
    """
    if told:
        return _shape_as_told(columns, told)
    if text_field and text_field in columns:
        return Shape("text", {"text": text_field})
    by_lower = {column.lower(): column for column in reversed(columns)}
    for name in ("messages", "conversations", "conversation"):
        if name in by_lower:
            return Shape("messages", {"messages": by_lower[name]})
    if "prompt" in by_lower and "completion" in by_lower:
        return Shape(
            "prompt_completion",
            {"prompt": by_lower["prompt"], "completion": by_lower["completion"]},
        )
    for question, answers in _DIALOGUES:
        answer = next((name for name in answers if name in by_lower), None)
        if question not in by_lower or answer is None:
            continue
        roles = {"instruction": by_lower[question], "answer": by_lower[answer]}
        if question != "input" and "input" in by_lower:
            roles["input"] = by_lower["input"]
        system = next((name for name in ("system_prompt", "system") if name in by_lower), None)
        if system:
            roles["system"] = by_lower[system]
        return Shape("dialogue", roles)
    if "text" in by_lower:
        return Shape("text", {"text": by_lower["text"]})
    raise DatasetError(
        f"No usable column in the data set: its columns are {listed(columns)}.", SFT_NEEDS
    )


def _shape_as_told(columns: Sequence[str], told: Mapping[str, str]) -> Shape:
    missing = [column for column in told.values() if column not in columns]
    if missing:
        raise DatasetError(
            f"config.data.columns names {listed(missing)}, but the data set's columns are "
            f"{listed(columns)}.",
            SFT_NEEDS,
        )
    roles = dict(told)
    if "messages" in roles or "conversations" in roles:
        return Shape("messages", {"messages": roles.get("messages") or roles["conversations"]})
    if "text" in roles:
        return Shape("text", {"text": roles["text"]})
    answer = next((roles[name] for name in _ANSWERS if name in roles), None)
    if "prompt" in roles and roles.get("completion"):
        return Shape(
            "prompt_completion", {"prompt": roles["prompt"], "completion": roles["completion"]}
        )
    question = next(
        (roles[name] for name in ("instruction", "question", "prompt") if name in roles), None
    )
    if question is None or answer is None:
        raise DatasetError(
            f"config.data.columns has the roles {listed(list(roles))}, which make no row to "
            "train on.",
            SFT_NEEDS,
        )
    columns_by_role: dict[str, str] = {"instruction": question, "answer": answer}
    columns_by_role |= {role: roles[role] for role in roles if role in ("input", "system")}
    return Shape("dialogue", columns_by_role)


def listed(names: Sequence[str]) -> str:
    """Names in quotes, for a message."""
    return ", ".join(repr(name) for name in names[:50]) or "none"
