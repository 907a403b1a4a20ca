"""All of it: from a request's data set to tokenised train and eval rows, with a report."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy

from tasks.datasets.opened import digests_of, message_keys, open_found, unused_columns
from tasks.datasets.parts import Part
from tasks.datasets.readers.problems import UnreadableRows
from tasks.datasets.report import Report
from tasks.datasets.shapes.other_kinds import refuse_other_kinds
from tasks.datasets.shapes.preference import recognise_preference
from tasks.datasets.shapes.prompts import recognise_prompts
from tasks.datasets.shapes.shape import (
    Shape,
    looks_like,
    needs,
    recognise_shape,
    samples,
    told_format,
)
from tasks.datasets.shapes.training_rows import StoredRows, store_rows
from tasks.datasets.sources.locate import Limits, Located, locate_dataset
from tasks.datasets.split import Indices, SplitPlan, repeated, split_rows
from tasks.datasets.training_data import ReadData, TrainingData, tokenise_data
from tasks.datasets.used import unused_keys
from tasks.errors import DatasetError
from trainyard.contract.config import DataConfig, JobConfig
from trainyard.contract.events import TrainingSpec
from trainyard.contract.job_folder import DATA_REPORT
from trainyard.contract.methods import DEFAULT_METHOD, METHODS, names
from trainyard.contract.request import TrainingRequest
from trainyard.contract.units import GB
from trainyard.durable_files import write_atomically

_SAY_NOTHING_OF_COLUMNS = (*names(), "json", "jsonl", "csv", "parquet")

logger = logging.getLogger(__name__)


def prepare_data(
    request: TrainingRequest,
    spec: TrainingSpec,
    tokenizer: Any,
    *,
    max_length: int,
    add_eos: bool,
    end_tokens: Collection[int] = (),
) -> TrainingData:
    """Locate, read, recognise, split, tokenise and report to the log.

    Raises DatasetError, ConfigurationError.
    """
    config, cache_dir = request.config, Path(spec.cache_dir) / "datasets"
    limits = Limits(int(spec.max_download_gb * GB), spec.allow_private_urls)
    found = locate_dataset(
        request.dataset_path,
        request.dataset_content,
        spec.dataset_roots,
        cache_dir,
        limits,
        config.data.subset or None,
    )
    report = Report(found.name, config.training.method)
    read = read_data(found, config, cache_dir, report, limits)
    if report.error is None:
        data = tokenise_data(
            read,
            config,
            tokenizer,
            report,
            max_length=max_length,
            add_eos=add_eos,
            end_tokens=end_tokens,
            cache_dir=cache_dir,
        )
    write_atomically(Path(spec.job_dir) / DATA_REPORT, json.dumps(report.as_json(), indent=1))
    for line in report.lines():
        level = logging.WARNING if line.startswith("Warning") else logging.INFO
        logger.log(level, "%s", line)
    if report.error is not None:
        raise DatasetError(report.error, report.hint)
    return data


def read_data(
    found: Located, config: JobConfig, cache_dir: Path, report: Report, limits: Limits
) -> ReadData:
    """Read, recognise and split; what is found goes into ``report``.

    Rows that cannot be used become the report's error, unless the request skips them. Raises
    DatasetError, ConfigurationError.
    """
    data, method = config.data, config.training.method
    plan = SplitPlan(config.seed, data.max_samples, data.train_split, data.eval_split)
    plan.fractions()
    report.skip_bad_rows = data.skip_bad_rows
    parts = open_found(found, data, cache_dir, report, limits)
    report.rows = sum(part.dropped for part in parts)
    report.add_problems(report.rows, *(part.problems for part in parts))
    if not len(parts[0]) and report.problems:
        raise UnreadableRows(report.problems, report.problem_count, 0)
    shape = shape_of(parts[0], data, method)
    report.shape, report.columns = shape.title(), shape.columns
    _note_format(data.dataset_format, report)
    stored = [store_rows(part, shape, cache_dir, method) for part in parts]
    report.rows += sum(rows.total for rows in stored)
    report.empty = sum(rows.empty for rows in stored)
    report.duplicates = sum(rows.duplicates for rows in stored)
    report.add_problems(sum(rows.bad for rows in stored), *(rows.problems for rows in stored))
    report.refuse_bad_rows(shape.describe())
    read = ReadData(parts, stored, shape, *_choose(stored, plan, report))
    report.splits = {"train": len(read.train[1]), "eval": len(read.eval[1])}
    sides = (read.train, read.eval)
    report.leaked = repeated(*(digests_of(stored[part], rows) for part, rows in sides))
    report.used.columns = unused_columns(parts, shape)
    report.used.message_keys = unused_keys(message_keys(read.stored), None)
    if len(read.train[1]) == 0 and report.error is None:
        raise DatasetError("No row of the data set is left to train on.", needs(method))
    return read


def _note_format(dataset_format: str | None, report: Report) -> None:
    name = (dataset_format or "").strip().lower()
    if name and told_format(name) is None and name not in _SAY_NOTHING_OF_COLUMNS:
        report.notes.append(
            f"config.data.dataset_format {dataset_format!r} names no shape that is known: the "
            "shape is recognised from the columns."
        )


def _choose(
    stored: list[StoredRows], plan: SplitPlan, report: Report
) -> tuple[tuple[int, Indices], tuple[int, Indices]]:
    """(part, indices) to train on and to evaluate on; a ready-made eval part is used whole."""
    if len(stored) == 1:
        train, evaluation = split_rows(len(stored[0].dataset), plan)
        return (0, train), (0, evaluation)
    report.notes.append(
        "The data set's own eval split is used; data.train_split and eval_split are not."
    )
    train, _ = split_rows(len(stored[0].dataset), SplitPlan(plan.seed, plan.max_samples))
    return (0, train), (1, numpy.arange(len(stored[1].dataset), dtype=numpy.int64))


def shape_of(part: Part, data: DataConfig, method: str = DEFAULT_METHOD) -> Shape:
    """The shape of a part's rows, from its columns. Raises DatasetError."""
    if not len(part):
        raise DatasetError("The data set has no rows.", "A header alone is no data set.")
    try:
        shape = _recognise(part.columns, data, method)
    except DatasetError as error:
        raise DatasetError(
            f"{error.sentence} The first rows: {samples(row for _, row in part.rows())}", error.mend
        ) from None
    if not data.columns:
        refuse_other_kinds(part.columns, (row for _, row in part.rows()), shape)
    return shape


def _recognise(columns: list[str], data: DataConfig, method: str) -> Shape:
    shapes = METHODS[method].shapes
    if "preference" in shapes:
        return recognise_preference(columns, told=data.columns, method=method)
    told: dict[str, Any] = {
        "text_field": data.text_field,
        "told": data.columns,
        "dataset_format": data.dataset_format,
        "method": method,
    }
    if "prompt" in shapes:
        return recognise_prompts(columns, **told)
    shape = recognise_shape(columns, **told)
    if shape.name not in shapes:
        fits = looks_like([*columns, *(data.columns or {})], method)
        raise DatasetError(
            f"{method} trains on plain text, but the data set's rows are {shape.describe()}.",
            f"{fits or f'Send config.training.method {DEFAULT_METHOD}. '}Or name the column of "
            "text in config.data.text_field.",
        )
    return shape
