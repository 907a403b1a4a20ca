"""Parts of a data set that a training uses, and those that it leaves out: files, columns, keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.datasets.sources.folder import LeftOut

_SHOWN = 20
_EVERY_TEMPLATE_KNOWS = frozenset(("role", "content", "tool_calls", "reasoning_content", "train"))
"""Keys of a message that are used; a template that leaves one out is reported by its rows."""
_MOST_TEMPLATES_KNOW = frozenset(("name", "tool_call_id"))


@dataclass(frozen=True)
class UsedFile:
    """A file that was read: the split that it belongs to, and its rows that can be read."""

    name: str
    split: str
    rows: int


@dataclass
class Used:
    """What was used and what not; filled in as far as the check comes.

    ``columns`` and ``message_keys`` are those that are not used; ``missed`` says which of the
    columns a person may miss.
    """

    files: list[UsedFile] = field(default_factory=list)
    left_out: Sequence[LeftOut] = ()
    columns: list[str] = field(default_factory=list)
    message_keys: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> Iterator[str]:
        """Files and columns that a person may miss."""
        missed = [f"{file.name!r} ({file.why})" for file in self.left_out if not file.expected]
        if missed:
            yield f"{_count(missed, 'file')} left out: {_listed(missed)}"
        yield from self.missed

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "files": [
                {"file": file.name, "split": file.split, "rows": file.rows} for file in self.files
            ],
            "files_left_out": [
                {"file": file.name, "reason": file.why, "expected": file.expected}
                for file in self.left_out
            ],
            "unused_columns": self.columns,
            "unused_message_keys": self.message_keys,
        }

    def lines(self, rows: int = 0) -> Iterator[str]:
        """For people; ``rows``: of the data set, with those that cannot be read."""
        if self.files:
            files = [
                f"{file.name} ({file.rows:,}{', eval' if file.split == 'eval' else ''})"
                for file in self.files
            ]
            unread = rows - sum(file.rows for file in self.files)
            more = f"; rows that cannot be read: {unread:,}" if unread > 0 else ""
            yield f"Files      {_listed(files)}{more}"
        if self.left_out:
            yield f"Left out   {_listed([f'{file.name} ({file.why})' for file in self.left_out])}"
        unused = [
            f"{what} {_listed(names)}"
            for what, names in (("columns", self.columns), ("message keys", self.message_keys))
            if names
        ]
        if unused:
            yield f"Not used   {'; '.join(unused)}"


def unused_keys(found: Iterable[str], template: str | None) -> list[str]:
    """The keys of messages that nobody reads; ``template`` is the chat template, if it is known."""
    known = _EVERY_TEMPLATE_KNOWS | (_MOST_TEMPLATES_KNOW if template is None else frozenset())
    return sorted(key for key in found if key not in known and not _reads(template or "", key))


def _reads(template: str, key: str) -> bool:
    """Whether a chat template asks for ``key``: by a dot, or in quotes."""
    word = re.escape(key)
    return re.search(rf"\.{word}\b|(['\"]){word}\1", template) is not None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _count(names: Sequence[str], what: str) -> str:
    return f"1 {what} is" if len(names) == 1 else f"{len(names):,} {what}s are"
