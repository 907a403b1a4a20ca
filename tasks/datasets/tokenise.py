"""Training rows → ``input_ids`` and ``labels``, batched, and cached by content.

Every row is rendered to one text and the character spans that are trained on (an answer, the
assistant's turns, or all of a plain text); one tokenisation with offsets gives both columns. A
token is trained on where it overlaps a span. Labels elsewhere are -100.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from tasks.datasets.split import Indices
from tasks.datasets.store import cached_arrow, key_of
from tasks.errors import DatasetError

IGNORED_LABEL = -100
ROWS_PER_BATCH = 1000
SECONDS_BETWEEN_PROGRESS_LINES = 5.0
_ROWS_SAMPLED = 1000

SCHEMA = pyarrow.schema(
    [
        ("row", pyarrow.int64()),
        ("input_ids", pyarrow.list_(pyarrow.int32())),
        ("labels", pyarrow.list_(pyarrow.int32())),
        ("cut", pyarrow.bool_()),
    ]
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rendered:
    """A row as the model will see it. ``special``: the tokenizer adds its own special tokens."""

    text: str
    trained: tuple[tuple[int, int], ...]
    special: bool
    ends_with_eos: bool


@dataclass(frozen=True)
class Tokenised:
    """Rows ready for the trainer (``input_ids``, ``labels``) and what became of the others.

    ``tokens`` and ``trained_tokens`` count the rows kept; ``dropped`` rows had no trained token
    left within ``max_length``; ``cut`` rows are kept, but longer than ``max_length``.
    """

    dataset: datasets.Dataset
    tokens: int
    trained_tokens: int
    dropped: int
    cut: int

    def sample_sha256(self) -> str:
        """Hash (hex) of the counts and of up to 1,000 rows, evenly spread: cheap for any size.

        Tells data that changed from data that is the same, wherever the file lies.
        """
        step = max(len(self.dataset) // _ROWS_SAMPLED, 1)
        sample = self.dataset[range(0, len(self.dataset), step)]
        counts = [len(self.dataset), self.tokens, self.trained_tokens]
        return hashlib.sha256(json.dumps([counts, sample]).encode()).hexdigest()


def render(row: dict[str, Any], tokenizer: Any, add_eos: bool) -> Rendered:
    """Render one training row; see the module's docstring."""
    if row["text"] is not None:
        text = row["text"]
        return Rendered(text, ((0, len(text)),), special=True, ends_with_eos=add_eos)
    if row["prompt"] is not None:
        text = row["prompt"] + row["completion"]
        span = (len(row["prompt"]), len(text))
        return Rendered(text, (span,), special=True, ends_with_eos=add_eos)
    messages = json.loads(row["messages"])
    text = chat_text(tokenizer, messages)
    return Rendered(text, _assistant_spans(tokenizer, messages, text), False, False)


def chat_text(tokenizer: Any, messages: list[dict[str, Any]], *, prompt: bool = False) -> str:
    """``messages`` by the tokenizer's chat template; ``prompt``: with an answer's beginning."""
    rendered: str = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=prompt
    )
    return rendered


def _assistant_spans(
    tokenizer: Any, messages: list[dict[str, Any]], text: str
) -> tuple[tuple[int, int], ...]:
    """Where the assistant's turns stand in ``text``, up to where the next message starts.

    A turn starts where the rendering of all that precedes it, with the generation prompt, ends.
    A template that renders an earlier turn otherwise than a last one (one that strips earlier
    reasoning, say) leaves the last turn alone to be trained on.
    """
    spans: list[tuple[int, int]] = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        last = index == len(messages) - 1
        start = _common_prefix(chat_text(tokenizer, messages[:index], prompt=True), text)
        if last:
            return (*spans, (start, len(text)))
        so_far = chat_text(tokenizer, messages[: index + 1])
        if text.startswith(so_far):
            spans.append((start, len(so_far)))
    return tuple(spans)


def _common_prefix(left: str, right: str) -> int:
    if right.startswith(left):
        return len(left)
    for position, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return position
    return min(len(left), len(right))


def tokenise(
    rows: datasets.Dataset,
    indices: Indices,
    tokenizer: Any,
    *,
    max_length: int,
    add_eos: bool,
    cache_dir: Path,
    source_key: str,
) -> Tokenised:
    """Tokenise ``rows[indices]``, cut to ``max_length`` tokens; from the cache where it can be.

    ``source_key`` names the content of ``rows``. Raises DatasetError where not one row is left.
    """
    key = key_of(source_key, indices_key(indices), tokenizer_key(tokenizer), max_length, add_eos)
    written = cached_arrow(
        cache_dir / "tokenised" / f"{key}.arrow",
        SCHEMA,
        lambda: _batches(rows, indices, tokenizer, max_length, add_eos),
    )
    dropped = len(indices) - len(written)
    if len(written) == 0:
        raise nothing_left(max_length, len(indices))
    tokens, trained = _count_tokens(written)
    cut = int(pyarrow.compute.sum(written.data.column("cut")).as_py() or 0)
    return Tokenised(written.select_columns(["input_ids", "labels"]), tokens, trained, dropped, cut)


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


def _count_tokens(written: datasets.Dataset) -> tuple[int, int]:
    tokens = trained = 0
    for chunk in written.data.column("labels").chunks:
        values = chunk.flatten()
        tokens += len(values)
        trained += (
            pyarrow.compute.sum(
                pyarrow.compute.not_equal(values, IGNORED_LABEL).cast(pyarrow.int64())
            ).as_py()
            or 0
        )
    return tokens, trained


def _batches(
    rows: datasets.Dataset, indices: Indices, tokenizer: Any, max_length: int, add_eos: bool
) -> Iterator[dict[str, list[Any]]]:
    last_line = time.monotonic()
    for start in range(0, len(indices), ROWS_PER_BATCH):
        batch = rows[indices[start : start + ROWS_PER_BATCH]]
        columns = _tokenise_batch(batch, tokenizer, max_length, add_eos)
        if columns["row"]:
            yield columns
        if time.monotonic() - last_line > SECONDS_BETWEEN_PROGRESS_LINES:
            last_line = time.monotonic()
            done = min(start + ROWS_PER_BATCH, len(indices))
            logger.info("Tokenised %s of %s rows", f"{done:,}", f"{len(indices):,}")


def _tokenise_batch(
    batch: dict[str, list[Any]], tokenizer: Any, max_length: int, add_eos: bool
) -> dict[str, list[Any]]:
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    rendered = [render(row, tokenizer, add_eos) for row in rows]
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for special in (True, False):
        group = [
            (row, item) for row, item in zip(rows, rendered, strict=True) if item.special is special
        ]
        if not group:
            continue
        encoded = tokenizer(
            [item.text for _, item in group],
            add_special_tokens=special,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        for (row, item), ids, offsets in zip(
            group, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            _append(columns, row["row"], *_labelled(item, ids, offsets, tokenizer), max_length)
    return columns


def _labelled(
    item: Rendered, ids: list[int], offsets: list[tuple[int, int]], tokenizer: Any
) -> tuple[list[int], list[int]]:
    labels = [
        token
        if any(start < stop and end > begin for begin, stop in item.trained)
        else IGNORED_LABEL
        for token, (start, end) in zip(ids, offsets, strict=True)
    ]
    eos = tokenizer.eos_token_id
    if item.ends_with_eos and eos is not None:
        if ids and ids[-1] == eos:
            labels[-1] = eos  # a tokenizer that adds it by itself
        else:
            ids, labels = [*ids, eos], [*labels, eos]
    return ids, labels


def _append(
    columns: dict[str, list[Any]], row: int, ids: list[int], labels: list[int], max_length: int
) -> None:
    # The first token is never predicted, so a label there trains nothing.
    if all(label == IGNORED_LABEL for label in labels[1:max_length]):
        return
    columns["row"].append(row)
    columns["input_ids"].append(ids[:max_length])
    columns["labels"].append(labels[:max_length])
    columns["cut"].append(len(ids) > max_length)
