"""All of it: from a request's data set to tokenised train and eval rows."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy
import pyarrow

from backend_bridge.contract import DataConfig, TrainingRequest, TrainingSpec
from tasks.datasets.format import RowProblem, format_paragraph, format_row
from tasks.datasets.locate import locate_dataset
from tasks.datasets.parts import Part, open_parts
from tasks.datasets.preference import format_preference, recognise_preference
from tasks.datasets.prompts import collect_prompts, format_prompt, recognise_prompts
from tasks.datasets.recognise import Shape, recognise_shape
from tasks.datasets.rows import Row
from tasks.datasets.split import Indices, SplitPlan, split_rows
from tasks.datasets.store import batched, cached_arrow, key_of
from tasks.datasets.tokenise import Tokenised, tokenise
from tasks.datasets.tokenise_preference import tokenise_preferences
from tasks.errors import DatasetError

PROBLEMS_NAMED = 20
ROWS_PER_BATCH = 1000
_FORMATTED_BY_METHOD = ("cpt", "rlhf")

ROW_SCHEMA = pyarrow.schema(
    [
        ("row", pyarrow.int64()),
        ("text", pyarrow.large_string()),
        ("prompt", pyarrow.large_string()),
        ("completion", pyarrow.large_string()),
        ("chosen", pyarrow.large_string()),
        ("rejected", pyarrow.large_string()),
        ("messages", pyarrow.large_string()),
    ]
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """What the trainer reads. ``eval`` is None where no row evaluates."""

    train: Tokenised
    eval: Tokenised | None
    shape: Shape
    rows: int


def prepare_data(
    request: TrainingRequest,
    spec: TrainingSpec,
    tokenizer: Any,
    *,
    max_length: int,
    add_eos: bool,
) -> TrainingData:
    """Locate, read, recognise, split and tokenise. Raises DatasetError, ConfigurationError."""
    data, cache_dir = request.config.data, Path(spec.cache_dir) / "datasets"
    plan = SplitPlan(request.config.seed, data.max_samples, data.train_split, data.eval_split)
    plan.fractions()
    path = locate_dataset(
        request.dataset_path, request.dataset_content, spec.dataset_roots, cache_dir
    )
    parts = open_parts(path, cache_dir)
    method = request.config.training.method
    shape = shape_of(parts[0], data, method)
    logger.info("The data set's rows are %s", shape.describe())
    stored = [store_rows(part, shape, cache_dir, method) for part in parts]
    chosen = _choose(stored, plan)

    def tokenised(part: int, indices: Indices) -> Tokenised:
        source_key = _stored_key(parts[part], shape, method)
        common: Any = {"max_length": max_length, "add_eos": add_eos, "cache_dir": cache_dir}
        if method == "cpt":
            # Whole documents: packing cuts them, and no token is lost.
            ends = add_eos and not parts[part].continuous
            common |= {"max_length": sys.maxsize, "add_eos": ends}
        if method == "rlhf":
            room = max_length - request.config.training.answer_length
            return collect_prompts(
                stored[part],
                indices,
                tokenizer,
                max_length=room,
                cache_dir=cache_dir,
                source_key=source_key,
            )
        if shape.name == "preference":
            return tokenise_preferences(
                stored[part],
                indices,
                tokenizer,
                max_prompt_length=request.config.training.max_prompt_length,
                source_key=source_key,
                **common,
            )
        return tokenise(stored[part], indices, tokenizer, source_key=source_key, **common)

    train = tokenised(*chosen[0])
    _log_part("train", train, max_length)
    evaluation = tokenised(*chosen[1]) if len(chosen[1][1]) else None
    if evaluation is not None:
        _log_part("eval", evaluation, max_length)
    return TrainingData(train, evaluation, shape, sum(len(rows) for rows in stored))


def _choose(
    stored: list[datasets.Dataset], plan: SplitPlan
) -> tuple[tuple[int, Indices], tuple[int, Indices]]:
    """(part, indices) to train on and to evaluate on; a ready-made eval part is used whole."""
    if len(stored) == 1:
        train, evaluation = split_rows(len(stored[0]), plan)
        return (0, train), (0, evaluation)
    logger.info("The data set's own eval split is used; data.train_split and eval_split are not")
    train, _ = split_rows(len(stored[0]), SplitPlan(plan.seed, plan.max_samples))
    return (0, train), (1, numpy.arange(len(stored[1]), dtype=numpy.int64))


def shape_of(part: Part, data: DataConfig, method: str = "sft") -> Shape:
    """The shape of a part's rows, from the columns of its first rows. Raises DatasetError."""
    columns = part.columns
    if not len(part):
        raise DatasetError("The data set has no rows.", "A header alone is no data set.")
    if method in ("dpo", "orpo"):
        return recognise_preference(columns, told=data.columns)
    if method == "rlhf":
        return recognise_prompts(columns, text_field=data.text_field, told=data.columns)
    shape = recognise_shape(columns, text_field=data.text_field, told=data.columns)
    if method == "cpt" and shape.name != "text":
        raise DatasetError(
            f"cpt trains on plain text, but the data set's rows are {shape.describe()}.",
            "Name the column of text in config.data.text_field, or send the method sft.",
        )
    return shape


def _stored_key(part: Part, shape: Shape, method: str) -> str:
    """Key of a part's training rows: what they are made from, and how."""
    made = [part.key, shape.name, dict(shape.columns)]
    return key_of(*made, method) if method in _FORMATTED_BY_METHOD else key_of(*made)


def store_rows(part: Part, shape: Shape, cache_dir: Path, method: str = "sft") -> datasets.Dataset:
    """The part's training rows as a memory-mapped data set; read once, then from the cache.

    Raises DatasetError where a row cannot be trained on, naming the first of them.
    """
    key = _stored_key(part, shape, method)
    return cached_arrow(
        cache_dir / "rows" / f"{key}.arrow",
        ROW_SCHEMA,
        lambda: batched(_training_rows(part, shape, method), ROWS_PER_BATCH),
    )


def _formatter(part: Part, shape: Shape, method: str) -> Callable[[Row, Shape], dict[str, str]]:
    if method == "rlhf":
        return format_prompt
    if shape.name == "preference":
        return format_preference
    return format_paragraph if method == "cpt" and part.continuous else format_row


def _training_rows(part: Part, shape: Shape, method: str) -> Iterator[dict[str, Any]]:
    formatted = _formatter(part, shape, method)
    problems: list[str] = []
    count = total = 0
    for number, row in part.rows():
        total += 1
        try:
            training_row = formatted(row, shape)
        except RowProblem as problem:
            count += 1
            if count <= PROBLEMS_NAMED:
                problems.append(f"row {number}: {problem}")
            continue
        yield {"row": number, **dict.fromkeys(ROW_SCHEMA.names[1:]), **training_row}
    if count:
        for named in problems:
            logger.error("In the data set, %s", named)
        raise DatasetError(
            f"{count} of {total} rows of the data set cannot be trained on; the first is "
            f"{problems[0]}.",
            "Mend or remove these rows; the job's log names the first "
            f"{PROBLEMS_NAMED}. The rows were read as {shape.describe()}.",
        )


def _log_part(name: str, part: Tokenised, max_length: int) -> None:
    logger.info(
        "%s: %s rows, %s tokens, %s of them trained on",
        name,
        f"{len(part.dataset):,}",
        f"{part.tokens:,}",
        f"{part.trained_tokens:,}",
    )
    if part.dropped:
        logger.warning(
            "%s: %d rows dropped: max_length (%d) leaves them no token to train on",
            name,
            part.dropped,
            max_length,
        )
    if part.cut:
        logger.warning(
            "%s: %d rows are cut off at max_length (%d tokens)", name, part.cut, max_length
        )
