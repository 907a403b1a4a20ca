"""Training rows → ``input_ids`` and ``labels``, in batches, cached by content.

One tokenisation of the rendered row gives both: a token is trained on if it overlaps a trained
span of characters; labels elsewhere are -100.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy
import pyarrow
import pyarrow.compute

from tasks.datasets.cache import Columns, Facts, cached_with_facts, key_of
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.split import Indices
from tasks.datasets.tokens.encode import encoded_batches
from tasks.datasets.tokens.render import Rendered, Rendering, render
from tasks.datasets.tokens.spans import IGNORED_LABEL, Labels
from tasks.errors import DatasetError

PROBLEMS_KEPT = 20
_ROWS_SAMPLED = 1000
_COUNTS = ("lengths", "left_out", "turn_ends")

SCHEMA = pyarrow.schema(
    [
        ("row", pyarrow.int64()),
        ("input_ids", pyarrow.list_(pyarrow.int32())),
        ("labels", pyarrow.list_(pyarrow.int32())),
    ]
)


@dataclass(frozen=True)
class Tokenised:
    """Rows ready for the trainer (``input_ids``, ``labels``) and what became of the others.

    ``tokens`` and ``trained_tokens`` count the rows kept; ``dropped`` rows had no trained token
    left within ``max_length``; ``cut`` rows are kept, but longer than ``max_length``. ``lengths``
    counts all rows by their tokens, uncut. ``refused`` rows the chat template cannot render;
    ``problems`` names the first of them, by row. ``first_row``: number of the first
    row that was kept. ``left_out``: what the chat template leaves out by its design, and of how
    many rows. ``turn_ends``: the tokens that end conversations' answers, with how many they end.
    """

    dataset: datasets.Dataset
    tokens: int
    trained_tokens: int
    dropped: int
    cut: int
    lengths: dict[int, int] = field(default_factory=dict)
    refused: int = 0
    problems: tuple[tuple[int, RowProblem], ...] = ()
    first_row: int | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    turn_ends: dict[int, int] = field(default_factory=dict)

    @property
    def turn_end(self) -> int | None:
        """The token that most of the conversations' answers end with; None without any."""
        return max(self.turn_ends, key=self.turn_ends.__getitem__) if self.turn_ends else None

    def sample_sha256(self) -> str:
        """Hash (hex) of the counts and of up to 1,000 rows, evenly spread: cheap for any size.

        Tells data that changed from data that is the same, wherever the file lies.
        """
        step = max(len(self.dataset) // _ROWS_SAMPLED, 1)
        sample = self.dataset[range(0, len(self.dataset), step)]
        counts = [len(self.dataset), self.tokens, self.trained_tokens]
        return hashlib.sha256(json.dumps([counts, sample]).encode()).hexdigest()


@dataclass(frozen=True)
class ChosenRows:
    """``rows[indices]`` of one part, which are to be tokenised, to at most ``max_length`` tokens.

    ``source_key`` names the content of ``rows``. ``files`` of rows that are the paragraphs of
    texts: name and number of rows of each.
    """

    rows: datasets.Dataset
    indices: Indices
    max_length: int
    cache_dir: Path
    source_key: str
    files: Sequence[tuple[str, int]] = ()

    def tokenised(
        self,
        key: Sequence[Any],
        how: Rendering,
        schema: pyarrow.Schema,
        columns: Callable[[Tally], Iterator[Columns]],
    ) -> Tokenised:
        """What ``columns`` makes of them, counting; from the cache where it can be.

        ``key``: what changes the result beside the rows and ``how``.
        """
        name = key_of(*key, self.source_key, _key_of_indices(self.indices), _key_of_rendering(how))

        def batches(facts: Facts) -> Iterator[Columns]:
            tally = Tally(self.max_length)
            yield from columns(tally)
            facts.update(tally.as_facts())

        path = self.cache_dir / "tokenised" / f"{name}.arrow"
        written, facts = cached_with_facts(path, schema, batches)
        problems = tuple((row, RowProblem(*said)) for row, *said in facts["problems"])
        counts = {name: dict(facts[name]) for name in _COUNTS}
        kept = written.select_columns([name for name in schema.names if name != "row"])
        return Tokenised(kept, **{**facts, **counts, "problems": problems})


def tokenise(chosen: ChosenRows, how: Rendering) -> Tokenised:
    """Tokenise ``chosen``, cut to ``max_length`` tokens."""
    labels_of = Labels(how.tokenizer)

    def columns(tally: Tally) -> Iterator[Columns]:
        for batch in encoded_batches(
            chosen.rows, chosen.indices, how.tokenizer, partial(render, how=how), chosen.max_length
        ):
            yield _columns(tally, *batch, labels_of)

    return chosen.tokenised([chosen.max_length], how, SCHEMA, columns)


def nothing_left(max_length: int, rows: int) -> DatasetError:
    """The error if not one of so many rows can be trained on."""
    return DatasetError(
        f"max_length ({max_length} tokens) leaves none of the {rows} rows a token to train on.",
        "Raise config.training.max_length.",
    )


def _key_of_indices(indices: Indices) -> str:
    """Hash of the rows that were chosen."""
    return hashlib.sha256(indices.tobytes()).hexdigest()


def _key_of_rendering(how: Rendering) -> str:
    """Hash of everything of ``how`` that changes what a row becomes."""
    parts = (
        how.tokenizer.backend_tokenizer.to_str(),
        how.chat_template.sources,
        str(how.tokenizer.special_tokens_map),
        str((how.add_eos, how.answers_only, how.train_on, how.documents is not None)),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Tally:
    """Counts what becomes of the rows while they are tokenised."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.lengths: Counter[int] = Counter()
        self.tokens = self.trained_tokens = self.dropped = self.cut = self.refused = 0
        self.problems: list[tuple[int, str, str]] = []
        self.left_out: Counter[str] = Counter()
        self.turn_ends: Counter[int] = Counter()
        self.first_row: int | None = None

    def refuse(self, row: int, problem: RowProblem) -> None:
        """Count a row that cannot be rendered."""
        self.refused += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append((row, problem.sentence, problem.mend))

    def as_facts(self) -> Facts:
        """For JSON."""
        facts = {name: value for name, value in vars(self).items() if name != "max_length"}
        return {**facts, **{name: sorted(facts[name].items()) for name in _COUNTS}}


def _columns(
    tally: Tally,
    numbers: list[int],
    items: list[Rendered | RowProblem],
    encodings: list[Any],
    labels_of: Labels,
) -> Columns:
    columns: Columns = {name: [] for name in SCHEMA.names}
    limit = tally.max_length
    for number, item, encoding in zip(numbers, items, encodings, strict=True):
        if isinstance(item, RowProblem):
            tally.refuse(number, item)
            continue
        ids, labels = labels_of.labelled(item, encoding)
        tally.left_out.update(item.left_out)
        if item.conversation and not item.beyond:
            tally.turn_ends[labels_of.turn_end(labels)] += 1
        tally.lengths[len(ids) + item.beyond] += 1
        # The first token is never predicted, so a label there trains nothing.
        trained = int(numpy.count_nonzero(labels[1:limit] != IGNORED_LABEL))
        if trained == 0:
            tally.dropped += 1
            continue
        tally.first_row = tally.first_row or number
        tally.cut += len(ids) > limit
        tally.tokens += min(len(ids), limit)
        tally.trained_tokens += trained
        for name, value in zip(columns, (number, ids[:limit], labels[:limit]), strict=True):
            columns[name].append(value)
    return columns
