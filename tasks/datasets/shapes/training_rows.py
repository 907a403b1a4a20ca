"""One part's training rows as a memory-mapped data set, with what is wrong with the others."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy
import pyarrow

from tasks.datasets.cache import Columns, Facts, batched, cached_with_facts, key_of
from tasks.datasets.parts import Part
from tasks.datasets.readers.problems import ReadProblem
from tasks.datasets.readers.rows import Row
from tasks.datasets.shapes.problems import EmptyRow, RowProblem
from tasks.datasets.shapes.shape import Shape

PROBLEMS_KEPT = 20
ROWS_PER_BATCH = 1000
_JSON = ("chosen", "rejected", "messages", "tools")
Formatter = Callable[[Row, Shape], dict[str, str]]
"""Texts of a stored row, by column. Raises RowProblem."""


@dataclass(frozen=True)
class StoredRows:
    """The rows of one part that can be trained on, and a count of all.

    ``bad`` rows lack what the method needs; ``empty`` are those of them that hold nothing;
    ``problems`` names the first. ``duplicates`` are rows that repeat an earlier one. ``characters``
    counts the rows by their length, to the next power of two. ``message_keys`` are those of the
    messages. ``key`` names the content; the column ``digest`` is the same for the same row.
    """

    dataset: datasets.Dataset
    key: str
    total: int
    bad: int
    empty: int
    duplicates: int
    characters: dict[int, int]
    message_keys: tuple[str, ...]
    problems: tuple[ReadProblem, ...]


def store_rows(
    part: Part,
    shape: Shape,
    cache_dir: Path,
    columns: Sequence[str],
    formatter: Formatter,
) -> StoredRows:
    """Read a part's rows once; then they come from the cache. Raises DatasetError.

    ``columns``: the texts that ``formatter`` makes of a row.
    """
    key = key_of(part.key, shape.name, dict(shape.columns), formatter.__name__)

    def batches(facts: Facts) -> Iterator[Columns]:
        tally = _Tally(columns)
        rows = _training_rows(part, shape, formatter, tally)
        yield from batched(rows, ROWS_PER_BATCH)
        facts.update(tally.as_facts())

    path = cache_dir / "rows" / f"{key}.arrow"
    dataset, facts = cached_with_facts(path, row_schema(columns), batches)
    problems = tuple(ReadProblem(**problem) for problem in facts.pop("problems"))
    characters, keys = dict(facts.pop("characters")), tuple(facts.pop("message_keys"))
    return StoredRows(
        dataset, key, problems=problems, characters=characters, message_keys=keys, **facts
    )


def row_schema(columns: Sequence[str]) -> pyarrow.Schema:
    """Columns of stored rows whose texts have those names."""
    texts = ((name, pyarrow.large_string()) for name in columns)
    return pyarrow.schema([("row", pyarrow.int64()), ("digest", pyarrow.uint64()), *texts])


class _Tally:
    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self.total = self.bad = self.empty = 0
        self.characters: Counter[int] = Counter()
        self.message_keys: set[str] = set()
        self.problems: list[ReadProblem] = []
        self._digests = array("Q")

    def add(self, row: dict[str, str]) -> int:
        """Count a row; returns its digest."""
        texts = [row.get(name) or "" for name in self.columns]
        self.characters[1 << (_characters(row, self.message_keys) - 1).bit_length()] += 1
        digest = hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8)
        self._digests.append(int.from_bytes(digest.digest(), "little"))
        return self._digests[-1]

    def refuse(self, problem: ReadProblem, empty: bool) -> None:
        self.bad += 1
        self.empty += empty
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(problem)

    def as_facts(self) -> Facts:
        distinct = len(numpy.unique(numpy.frombuffer(self._digests, dtype=numpy.uint64)))
        return {
            "total": self.total,
            "bad": self.bad,
            "empty": self.empty,
            "duplicates": len(self._digests) - distinct,
            "characters": sorted(self.characters.items()),
            "message_keys": sorted(self.message_keys),
            "problems": [asdict(problem) for problem in self.problems],
        }


def _characters(row: dict[str, str], message_keys: set[str]) -> int:
    """Of what a row says, without the JSON that it may stand in, whose keys are collected."""
    count = 0
    for name, text in row.items():
        value = json.loads(text) if name in _JSON or text.startswith('[{"role"') else text
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict) and name != "tools":
                message_keys.update(part)
            count += len(part if isinstance(part, str) else str(part.get("content", part)))
    return count


def _training_rows(
    part: Part, shape: Shape, formatter: Formatter, tally: _Tally
) -> Iterator[dict[str, Any]]:
    empty = dict.fromkeys(tally.columns)
    for number, row in part.rows():
        tally.total += 1
        try:
            training_row = formatter(row, shape)
        except RowProblem as problem:
            tally.refuse(placed(part, number, problem), isinstance(problem, EmptyRow))
            continue
        yield {"row": number, "digest": tally.add(training_row), **empty, **training_row}


def placed(part: Part, number: int, problem: RowProblem) -> ReadProblem:
    """A problem of row ``number`` of a part, with its file and line."""
    file, line, row = part.place(number)
    return ReadProblem(file, line, problem.sentence, problem.mend, None if line else row)
