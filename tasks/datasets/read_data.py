"""Reading of a data set that was found: its rows in one shape, split, with a report."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy

from tasks.datasets.opened import digests_of, message_keys, open_found, unused_columns
from tasks.datasets.parts import Part
from tasks.datasets.readers.problems import UnreadableRows
from tasks.datasets.report import Report
from tasks.datasets.row_kinds import rows_of, shape_of
from tasks.datasets.shapes.shape import needs, told_format
from tasks.datasets.shapes.training_rows import StoredRows
from tasks.datasets.shapes.unused import may_be_missed
from tasks.datasets.sources.locate import DownloadLimits, Located
from tasks.datasets.split import Indices, SplitPlan, repeated, split_rows
from tasks.datasets.training_data import ReadData
from tasks.datasets.used import UsedFile, unused_keys
from tasks.errors import DatasetError
from trainyard.contract.config import JobConfig
from trainyard.contract.methods import names

Role = Literal["both", "train", "eval"]
"""What a data set is for: its rows train and evaluate, or do only one, beside another one."""
_SAY_NOTHING_OF_COLUMNS = (*names(), "json", "jsonl", "csv", "parquet")


def read_data(
    found: Located,
    config: JobConfig,
    cache_dir: Path,
    report: Report,
    limits: DownloadLimits,
    *,
    role: Role = "both",
) -> ReadData:
    """Read, recognise and split; what is found goes into ``report``.

    All rows of one that only evaluates are on the side that trains: there is no other.
    Rows that cannot be used become the report's error, unless the request skips them. Raises
    DatasetError, ConfigurationError.
    """
    data, method = config.data, config.training.method
    plan = _plan(config, role)
    plan.fractions()
    report.skip_bad_rows = data.skip_bad_rows
    parts = _parts_for(role, open_found(found, data, cache_dir, report, limits), report)
    report.rows = sum(part.dropped for part in parts)
    report.add_problems(report.rows, *(part.problems for part in parts))
    if not len(parts[0]) and report.problems:
        raise UnreadableRows(report.problems, report.problem_count, 0)
    shape = shape_of(parts[0], data, method)
    report.shape, report.columns = shape.title(), shape.columns
    _note_format(data.dataset_format, report)
    stored = [rows_of(part, shape, cache_dir, method) for part in parts]
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
    report.used.missed = may_be_missed([] if data.columns else report.used.columns, shape)
    report.used.message_keys = unused_keys(message_keys(read.stored), None)
    if len(read.train[1]) == 0 and report.error is None:
        raise DatasetError("No row of the data set is left to train on.", needs(method))
    return read


def _plan(config: JobConfig, role: Role) -> SplitPlan:
    data = config.data
    if role == "eval":
        return SplitPlan(config.seed)
    if role == "train":
        return SplitPlan(config.seed, data.max_samples)
    return SplitPlan(config.seed, data.max_samples, data.train_split, data.eval_split)


def _parts_for(role: Role, parts: list[Part], report: Report) -> list[Part]:
    """The part that is meant; of one that only evaluates its eval split, if it has one."""
    if role == "both":
        return parts
    part = parts[0] if role == "train" else parts[-1]
    unused = [other for other in parts if other is not part]
    for other in unused:
        report.notes.append(
            f"Its {other.name} split ({len(other):,} rows) is not used: "
            + ("eval_dataset_path evaluates." if role == "train" else "this one only evaluates.")
        )
    report.used.files = [
        UsedFile(file.name, role, file.rows)
        for file in report.used.files
        if file.split == part.name
    ]
    return [part]


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
