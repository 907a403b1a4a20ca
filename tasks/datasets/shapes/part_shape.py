"""Shape of a part's rows: by the request's words and the columns; other kinds are refused."""

from __future__ import annotations

from typing import Any

from tasks.datasets.parts import Part
from tasks.datasets.report import Report
from tasks.datasets.shapes.other_kinds import refuse_other_kinds
from tasks.datasets.shapes.preference import recognise_preference
from tasks.datasets.shapes.prompts import recognise_prompts
from tasks.datasets.shapes.shape import Shape, looks_like, recognise_shape, samples, told_format
from tasks.errors import DatasetError
from trainyard.contract.config import DataConfig
from trainyard.contract.methods import DEFAULT_METHOD, METHODS, names

_SAY_NOTHING_OF_COLUMNS = (*names(), "json", "jsonl", "csv", "parquet")


def note_format(dataset_format: str | None, report: Report) -> None:
    name = (dataset_format or "").strip().lower()
    if name and told_format(name) is None and name not in _SAY_NOTHING_OF_COLUMNS:
        report.notes.append(
            f"config.data.dataset_format {dataset_format!r} names no shape that is known: the "
            "shape is recognised from the columns."
        )


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
