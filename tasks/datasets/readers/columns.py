"""Columns as they are kept: text, JSON in the place of values, or a type of Arrow's own."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow

from tasks.datasets.readers.json.numbers import Number
from tasks.errors import DatasetError

MOST_COLUMNS = 2000
_JSON_MARK = {b"trainyard": b"json"}
_STRINGS: tuple[Callable[[pyarrow.DataType], bool], ...] = (
    pyarrow.types.is_string,
    pyarrow.types.is_large_string,
    pyarrow.types.is_string_view,
)
_BYTES: tuple[Callable[[pyarrow.DataType], bool], ...] = (
    pyarrow.types.is_binary,
    pyarrow.types.is_large_binary,
    pyarrow.types.is_binary_view,
    pyarrow.types.is_fixed_size_binary,
)
_SAID_AS_TEXT = (
    *(datetime.date, datetime.time, datetime.timedelta),
    *(decimal.Decimal, uuid.UUID),
)


def check_columns(count: int) -> None:
    """Raise DatasetError if there are too many: before each of them is looked at."""
    if count > MOST_COLUMNS:
        raise DatasetError(
            f"The rows of the data set have more than {MOST_COLUMNS} different columns.",
            "Write rows that share their columns.",
        )


def is_json(field: pyarrow.Field) -> bool:
    """Whether the column holds JSON in the place of values."""
    return bool(field.metadata and field.metadata.get(b"trainyard") == b"json")


def text_field(name: str) -> pyarrow.Field:
    """A column of texts and nulls."""
    return pyarrow.field(name, pyarrow.string())


def json_field(name: str) -> pyarrow.Field:
    """A column that holds JSON in the place of values."""
    return pyarrow.field(name, pyarrow.string(), metadata=_JSON_MARK)


def kept(field: pyarrow.Field, array: pyarrow.Array) -> tuple[pyarrow.Field, pyarrow.Array]:
    """How a column of a file is kept, with the array of that type or of one that casts to it.

    Bytes that are UTF-8 are text, as Spark and others write it; maps are objects.
    """
    kind = field.type.value_type if pyarrow.types.is_dictionary(field.type) else field.type
    if any(is_it(kind) for is_it in _STRINGS):
        return text_field(field.name), array
    if any(is_it(kind) for is_it in _BYTES):
        try:
            return text_field(field.name), array.cast(kind).cast(pyarrow.string())
        except pyarrow.ArrowInvalid:
            return pyarrow.field(field.name, field.type), array
    if pyarrow.types.is_float32(kind):
        # 0.1, and not the 0.10000000149011612 that it is as one of 64 bits.
        exact = pyarrow.field(field.name, pyarrow.float64())
        return exact, array.cast(kind).cast(pyarrow.string()).cast(pyarrow.float64())
    if _holds_maps(kind):
        return json_field(field.name), as_json(array)
    return pyarrow.field(field.name, field.type), array


def _holds_maps(kind: pyarrow.DataType) -> bool:
    if pyarrow.types.is_map(kind):
        return True
    return any(_holds_maps(kind.field(index).type) for index in range(kind.num_fields))


def as_json(array: pyarrow.Array) -> pyarrow.Array:
    """The values of ``array`` as JSON texts; dates and decimals as they are written."""
    return pyarrow.array(
        [
            None
            if value is None
            else json.dumps(value, ensure_ascii=False, default=_said, skipkeys=True)
            for value in values_of(array)
        ],
        pyarrow.string(),
    )


def _said(value: Any) -> Any:
    """What JSON has no value for. Bytes become an object, which is never taken for text."""
    return str(value) if isinstance(value, _SAID_AS_TEXT) else {type(value).__name__: None}


def json_of(value: Any) -> bytes | str:
    """``value``, which came from JSON, as JSON."""
    try:
        return orjson.dumps(value, default=_spelled)
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=False)


def _spelled(value: Any) -> orjson.Fragment:
    if isinstance(value, Number):
        return orjson.Fragment(value.spelling)
    raise TypeError


def values_of(array: pyarrow.Array) -> list[Any]:
    """The values of ``array``; for one that Python has no value for, bytes, which are no text.

    Such are dates beyond the year 9999, unknown time zones, and text that is no UTF-8.
    """
    try:
        return array.to_pylist(maps_as_pydicts="lossy")  # type: ignore[no-any-return]
    except (ValueError, OverflowError, LookupError):
        return [_value_of(value) for value in array]


def _value_of(value: pyarrow.Scalar) -> Any:
    try:
        return value.as_py(maps_as_pydicts="lossy")
    except (ValueError, OverflowError, LookupError):
        return str(value.type).encode()
