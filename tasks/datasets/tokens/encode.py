"""Rows → texts → the tokenizer's encodings, in batches.

The tokenizer encodes a batch on all cores, outside of the interpreter's lock, while the next one
is rendered.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeAlias

import datasets
import numpy
import pyarrow
import pyarrow.compute

from tasks.datasets.cache import CHARACTERS_PER_BATCH
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.split import Indices
from tasks.datasets.tokens.render import Rendered

ROWS_PER_BATCH = 1000
SECONDS_BETWEEN_PROGRESS_LINES = 5.0
_LONG = 64
"""Characters for each token that a row may have: longer ones are cut before they are encoded."""
_MARGIN = 64
"""Tokens at the end of a cut text that the cut may have changed, and more."""
_CHUNK = 1 << 16

logger = logging.getLogger(__name__)


_Batch: TypeAlias = tuple[list[int], list[Rendered | RowProblem]]
_Encoded: TypeAlias = tuple[list[int], list[Rendered | RowProblem], list[Any]]


def encoded_batches(
    rows: datasets.Dataset,
    indices: Indices,
    tokenizer: Any,
    rendered: Callable[[list[dict[str, Any]]], list[Rendered | RowProblem]],
    limit: int | None = None,
) -> Iterator[_Encoded]:
    """Row numbers, renderings and the tokenizer's encodings, batch by batch, with progress.

    Of a row that is far longer than ``limit`` tokens only the beginning is rendered to tokens; its
    ``beyond`` counts the others.
    """

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
    for numbers, items, encodings in _encoded_ahead(tokenizer, read(), limit):
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


def _encoded_ahead(
    tokenizer: Any, batches: Iterable[_Batch], limit: int | None
) -> Iterator[_Encoded]:
    """One batch is encoded in a thread while the caller works on the one before."""
    with ThreadPoolExecutor(1) as thread:
        waiting: Any = None
        for numbers, items in batches:
            encoding = thread.submit(_encode, tokenizer, items, limit)
            if waiting is not None:
                yield waiting[0], waiting[1], waiting[2].result()
            waiting = numbers, items, encoding
        if waiting is not None:
            yield waiting[0], waiting[1], waiting[2].result()


def _encode(tokenizer: Any, items: list[Rendered | RowProblem], limit: int | None) -> list[Any]:
    """The encoding of each rendered row; None of the others. Long ``items`` are cut in place."""
    encodings: list[Any] = [None] * len(items)
    if limit is not None:
        for place, item in enumerate(items):
            if isinstance(item, Rendered) and len(item.text) > _LONG * limit:
                items[place] = _beginning(tokenizer, item, limit)
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


def _beginning(tokenizer: Any, item: Rendered, limit: int) -> Rendered:
    """The lines of ``item`` that hold its first ``limit`` tokens; the tokens of the others are
    counted alone, which takes neither their offsets nor their texts."""
    backend, text = tokenizer.backend_tokenizer, item.text
    cut = text.find("\n", 16 * limit) + 1
    while 0 < cut < len(text):
        [head] = backend.encode_batch_fast([text[:cut]], add_special_tokens=False)
        if len(head) > limit + _MARGIN:
            break
        cut = text.find("\n", 2 * cut) + 1
    if not 0 < cut < len(text):
        return item
    rest = [text[begin : begin + _CHUNK] for begin in range(cut, len(text), _CHUNK)]
    counted = backend.encode_batch_fast(rest, add_special_tokens=False)
    return replace(
        item,
        text=text[:cut],
        trained=tuple((begin, min(end, cut)) for begin, end in item.trained if begin < cut),
        beyond=sum(map(len, counted)),
    )
