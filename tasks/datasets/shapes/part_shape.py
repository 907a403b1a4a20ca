"""Shape of a part's rows: as its columns are recognised; other kinds are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tasks.datasets.parts import Part
from tasks.datasets.shapes.other_kinds import refuse_other_kinds
from tasks.datasets.shapes.shape import Shape, looks_like, recognise_shape, samples
from tasks.errors import DatasetError
from trainyard.contract.config import DataConfig
from trainyard.contract.methods import DEFAULT_METHOD

Recogniser = Callable[[Sequence[str], DataConfig, str], Shape]
"""The shape of columns, as the request tells it, for a method. Raises DatasetError."""


def recognise_part(part: Part, data: DataConfig, method: str, recognise: Recogniser) -> Shape:
    """The shape of a part's rows. Raises DatasetError, with the first of them."""
    if not len(part):
        raise DatasetError("The data set has no rows.", "A header alone is no data set.")
    try:
        shape = recognise(part.columns, data, method)
    except DatasetError as error:
        raise DatasetError(
            f"{error.sentence} The first rows: {samples(row for _, row in part.rows())}", error.mend
        ) from None
    if not data.columns:
        refuse_other_kinds(part.columns, part.values, shape)
    return shape


def recognise_text(columns: Sequence[str], data: DataConfig, method: str) -> Shape:
    """As :func:`recognise_shape`; all but plain text is refused. Raises DatasetError."""
    shape = recognise_shape(columns, data, method)
    if shape.name != "text":
        fits = looks_like([*columns, *(data.columns or {})], method)
        raise DatasetError(
            f"{method} trains on plain text, but the data set's rows are {shape.describe()}.",
            f"{fits or f'Send config.training.method {DEFAULT_METHOD}. '}Or name the column of "
            "text in config.data.text_field.",
        )
    return shape
