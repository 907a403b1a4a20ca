"""Training rows → ``input_ids`` and ``labels``, in batches, cached by content.

One tokenisation of the rendered row gives both: a token is trained on where it overlaps a trained
span of characters; labels elsewhere are -100. The tokenizer encodes a batch on all cores, outside
of the interpreter's lock, while the next one is rendered.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import numpy
import pyarrow
import pyarrow.compute

from tasks.datasets.cache import CHARACTERS_PER_BATCH, Columns, Facts, cached_with_facts, key_of
from tasks.datasets.shapes.format import RowProblem
from tasks.datasets.split import Indices
from tasks.datasets.tokens.render import Rendered, render
from tasks.datasets.tokens.spans import IGNORED_LABEL, labelled
from tasks.errors import DatasetError

ROWS_PER_BATCH = 1000
PROBLEMS_KEPT = 20
SECONDS_BETWEEN_PROGRESS_LINES = 5.0
_ROWS_SAMPLED = 1000

SCHEMA = pyarrow.schema(
    [
        ("row", pyarrow.int64()),
        ("input_ids", pyarrow.list_(pyarrow.int32())),
        ("labels", pyarrow.list_(pyarrow.int32())),
    ]
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenised:
    """Rows ready for the trainer (``input_ids``, ``labels``) and what became of the others.

    ``tokens`` and ``trained_tokens`` count the rows kept; ``dropped`` rows had no trained token
    left within ``max_length``; ``cut`` rows are kept, but longer than ``max_length``. ``lengths``
    counts all rows by their tokens, uncut. ``refused`` rows the chat template cannot render;
    ``problems`` names the first of them: (row, reason, fix). ``first_row``: number of the first
    row that was kept.
    """

    dataset: datasets.Dataset
    tokens: int
    trained_tokens: int
    dropped: int
    cut: int
    lengths: dict[int, int] = field(default_factory=dict)
    refused: int = 0
    problems: tuple[tuple[int, str, str], ...] = ()
    first_row: int | None = None

    def sample_sha256(self) -> str:
        """Hash (hex) of the counts and of up to 1,000 rows, evenly spread: cheap for any size.

        Tells data that changed from data that is the same, wherever the file lies.
        """
        step = max(len(self.dataset) // _ROWS_SAMPLED, 1)
        sample = self.dataset[range(0, len(self.dataset), step)]
        counts = [len(self.dataset), self.tokens, self.trained_tokens]
        return hashlib.sha256(json.dumps([counts, sample]).encode()).hexdigest()


def tokenise(
    rows: datasets.Dataset,
    indices: Indices,
    tokenizer: Any,
    *,
    max_length: int,
    add_eos: bool,
    cache_dir: Path,
    source_key: str,
    answers_only: bool = True,
) -> Tokenised:
    """Tokenise ``rows[indices]``, cut to ``max_length`` tokens; from the cache where it can be.

    ``answers_only``: of a row with an answer, nothing else is trained on. ``source_key`` names the
    content of ``rows``.
    """
    key = key_of(
        *(source_key, indices_key(indices), tokenizer_key(tokenizer)),
        *(max_length, add_eos, answers_only),
    )

    def batches(facts: Facts) -> Iterator[Columns]:
        tally = Tally(max_length)

        def rendered(batch: list[dict[str, Any]]) -> list[Rendered | RowProblem]:
            return render(batch, tokenizer, add_eos=add_eos, answers_only=answers_only)

        for numbers, items, encodings in encoded_batches(rows, indices, tokenizer, rendered):
            yield _columns(tally, numbers, items, encodings, tokenizer)
        facts.update(tally.as_facts())

    path = cache_dir / "tokenised" / f"{key}.arrow"
    written, facts = cached_with_facts(path, SCHEMA, batches)
    return from_facts(written.select_columns(["input_ids", "labels"]), facts)


def nothing_left(max_length: int, rows: int) -> DatasetError:
    """The error where not one of so many rows can be trained on."""
    return DatasetError(
        f"max_length ({max_length} tokens) leaves none of the {rows} rows a token to train on.",
        "Raise config.training.max_length.",
    )


def indices_key(indices: Indices) -> str:
    """Hash of the rows that were chosen."""
    return hashlib.sha256(indices.tobytes()).hexdigest()


def tokenizer_key(tokenizer: Any) -> str:
    """Hash of everything of ``tokenizer`` that changes what a row becomes."""
    parts = (
        tokenizer.backend_tokenizer.to_str(),
        str(tokenizer.chat_template),
        str(tokenizer.special_tokens_map),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Tally:
    """Counts what becomes of the rows while they are tokenised."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.lengths: Counter[int] = Counter()
        self.tokens = self.trained_tokens = self.dropped = self.cut = self.refused = 0
        self.problems: list[tuple[int, str, str]] = []
        self.first_row: int | None = None

    def refuse(self, row: int, problem: RowProblem) -> None:
        """Count a row that cannot be rendered."""
        self.refused += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append((row, problem.sentence, problem.mend))

    def as_facts(self) -> Facts:
        """What :func:`from_facts` reads."""
        facts = {name: value for name, value in vars(self).items() if name != "max_length"}
        return {**facts, "lengths": sorted(self.lengths.items())}


def from_facts(dataset: datasets.Dataset, facts: Facts) -> Tokenised:
    """The rows with what :class:`Tally` counted."""
    problems = tuple((row, reason, fix) for row, reason, fix in facts["problems"])
    return Tokenised(dataset, **{**facts, "lengths": dict(facts["lengths"]), "problems": problems})


_Batch: TypeAlias = tuple[list[int], list[Rendered | RowProblem]]
_Encoded: TypeAlias = tuple[list[int], list[Rendered | RowProblem], list[Any]]


def encoded_batches(
    rows: datasets.Dataset,
    indices: Indices,
    tokenizer: Any,
    rendered: Callable[[list[dict[str, Any]]], list[Rendered | RowProblem]],
) -> Iterator[_Encoded]:
    """Row numbers, renderings and the tokenizer's encodings, batch by batch, with progress."""

    def read() -> Iterator[_Batch]:
        for chosen in _in_batches(rows, indices):
            columns = rows[chosen]
            batch = [
                dict(zip(columns, values, strict=True))
                for values in zip(*columns.values(), strict=True)
            ]
            yield columns["row"], rendered(batch)

    started = last_line = time.monotonic()
    done = 0
    for numbers, items, encodings in _encoded_ahead(tokenizer, read()):
        yield numbers, items, encodings
        done += len(numbers)
        now = time.monotonic()
        if now - last_line > SECONDS_BETWEEN_PROGRESS_LINES and done < len(indices):
            last_line = now
            logger.info(
                "Tokenised %s of %s rows (%s a second)",
                *(f"{count:,}" for count in (done, len(indices), round(done / (now - started)))),
            )


def _in_batches(rows: datasets.Dataset, indices: Indices) -> Iterator[Indices]:
    """Indices of at most so many rows and, but for single rows, characters."""
    sizes = numpy.zeros(len(rows), dtype=numpy.int64)
    for column in rows.data.columns:
        if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
            lengths = pyarrow.compute.binary_length(column)
            sizes += pyarrow.compute.fill_null(lengths, 0).to_numpy()
    ends = numpy.cumsum(sizes[indices])
    start = 0
    while start < len(indices):
        before = ends[start - 1] if start else 0
        room = int(numpy.searchsorted(ends, before + CHARACTERS_PER_BATCH, side="right"))
        end = min(max(room, start + 1), start + ROWS_PER_BATCH)
        yield indices[start:end]
        start = end


def _encoded_ahead(tokenizer: Any, batches: Iterable[_Batch]) -> Iterator[_Encoded]:
    """One batch is encoded in a thread while the caller works on the one before."""
    with ThreadPoolExecutor(1) as thread:
        waiting: Any = None
        for numbers, items in batches:
            encoding = thread.submit(_encode, tokenizer, items)
            if waiting is not None:
                yield waiting[0], waiting[1], waiting[2].result()
            waiting = numbers, items, encoding
        if waiting is not None:
            yield waiting[0], waiting[1], waiting[2].result()


def _encode(tokenizer: Any, items: list[Rendered | RowProblem]) -> list[Any]:
    """The encoding of each rendered row; None of the others."""
    encodings: list[Any] = [None] * len(items)
    for special in (True, False):
        group = [
            (place, item.text)
            for place, item in enumerate(items)
            if isinstance(item, Rendered) and item.special is special
        ]
        if group:
            batch = tokenizer(
                [text for _, text in group],
                add_special_tokens=special,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,  # of rows longer than the model we speak ourselves
            )
            for (place, _), encoding in zip(group, batch.encodings, strict=True):
                encodings[place] = encoding
    return encodings


def _columns(
    tally: Tally,
    numbers: list[int],
    items: list[Rendered | RowProblem],
    encodings: list[Any],
    tokenizer: Any,
) -> Columns:
    columns: Columns = {name: [] for name in SCHEMA.names}
    limit = tally.max_length
    for number, item, encoding in zip(numbers, items, encodings, strict=True):
        if isinstance(item, RowProblem):
            tally.refuse(number, item)
            continue
        ids, labels = labelled(item, encoding, tokenizer.eos_token_id)
        tally.lengths[len(ids)] += 1
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
