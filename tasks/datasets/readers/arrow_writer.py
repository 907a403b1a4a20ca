"""Rows of any kind → one Arrow file, read back memory-mapped.

A column is *text* (strings and nulls), *json* (anything else that came as Python values, each kept
as JSON, so that 3 stays 3 beside 3.5 and no key of one row shows in another) or *native* (a type of
Arrow's own, from Parquet and Arrow). A column that turns out to be another than it began as starts
a new segment; in the end all segments become one file of the last schema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow

from tasks.datasets.readers.columns import (
    as_json,
    check_columns,
    is_json,
    json_field,
    json_of,
    kept,
    text_field,
    values_of,
)
from tasks.datasets.readers.json.numbers import JSON
from tasks.datasets.readers.rows import Batch, Chunk, Lines, Row
from tasks.errors import DatasetError
from trainyard.durable_files import keep_reserve

LINE_COLUMN = "__line__"
"""Where each row starts in its file; null where that was not counted."""

_LINE_FIELD = pyarrow.field(LINE_COLUMN, pyarrow.int64())


class ColumnsWriter:
    """Writes chunks to ``path``. Use as a context manager; :meth:`finish` at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._fields: dict[str, pyarrow.Field] = {}
        self._segments: list[Path] = []
        self._writer: Any = None

    def __enter__(self) -> ColumnsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        for segment in self._segments:
            segment.unlink(missing_ok=True)

    def write(self, chunk: Chunk) -> None:
        """Append ``chunk``. Raises DatasetError where a column cannot be kept."""
        if isinstance(chunk, Batch):
            batch = chunk.batch
            check_columns(batch.num_columns)
            _refuse_repeated(batch.schema.names)
            columns = zip(batch.schema, batch.columns, strict=True)
            arrays = {field.name: kept(field, array) for field, array in columns}
            if len(batch):
                self._append(arrays, chunk.lines, len(batch))
        elif chunk.rows:
            self._append(_arrays_of(chunk.rows), chunk.lines, len(chunk.rows))

    def _append(
        self,
        arrays: dict[str, tuple[pyarrow.Field, pyarrow.Array]],
        lines: Lines,
        count: int,
    ) -> None:
        fields = {
            name: _merged(self._fields.get(name), field) for name, (field, _) in arrays.items()
        }
        if self._writer is None or any(
            name not in self._fields or not field.equals(self._fields[name], check_metadata=True)
            for name, field in fields.items()
        ):
            self._fields |= fields
            if LINE_COLUMN in self._fields:
                raise DatasetError(f"A column cannot be named {LINE_COLUMN}.", "Rename it.")
            check_columns(len(self._fields))
            self._start_segment()
        columns = [
            pyarrow.nulls(count, pyarrow.int64())
            if lines is None
            else pyarrow.array(lines, pyarrow.int64())
        ]
        for name, field in self._fields.items():
            if name in arrays:
                columns.append(_converted(arrays[name][1], arrays[name][0], field))
            else:
                columns.append(pyarrow.nulls(count, field.type))
        keep_reserve(self.path.parent)
        self._writer.write_batch(pyarrow.record_batch(columns, schema=self._schema()))
        self.rows += count

    def _schema(self) -> pyarrow.Schema:
        return pyarrow.schema([_LINE_FIELD, *self._fields.values()])

    def _start_segment(self) -> None:
        self._close()
        segment = self.path.with_suffix(f"{self.path.suffix}.{len(self._segments)}")
        self._segments.append(segment)
        self._writer = pyarrow.ipc.new_stream(pyarrow.OSFile(str(segment), "wb"), self._schema())

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def finish(self) -> None:
        """Put the whole under its name."""
        if not self._segments:
            self._start_segment()
        self._close()
        if len(self._segments) == 1:
            self._segments.pop().replace(self.path)
            return
        schema = self._schema()
        with pyarrow.ipc.new_stream(pyarrow.OSFile(str(self.path), "wb"), schema) as writer:
            for segment in self._segments:
                with pyarrow.ipc.open_stream(pyarrow.memory_map(str(segment))) as batches:
                    for batch in batches:
                        writer.write_batch(_with_schema(batch, schema))


def _arrays_of(rows: Sequence[Row]) -> dict[str, tuple[pyarrow.Field, pyarrow.Array]]:
    arrays = {}
    names = dict.fromkeys(chain.from_iterable(rows))
    check_columns(len(names))
    for name in names:
        values = [row.get(name) for row in rows]
        if {*map(type, values)} <= {str, type(None)}:
            arrays[name] = (text_field(name), pyarrow.array(values, pyarrow.string()))
        else:
            texts = [None if value is None else json_of(value) for value in values]
            arrays[name] = (json_field(name), pyarrow.array(texts, pyarrow.string()))
    return arrays


def _refuse_repeated(names: Sequence[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DatasetError(
            f"The data set names a column more than once: {', '.join(repeated)}.",
            "Give every column a name of its own.",
        )


def _merged(old: pyarrow.Field | None, new: pyarrow.Field) -> pyarrow.Field:
    """The field that holds both; ``json`` is what everything can become."""
    if old is None or pyarrow.types.is_null(old.type) or old.equals(new, check_metadata=True):
        return new
    if pyarrow.types.is_null(new.type):
        return old
    return json_field(new.name)


def _converted(array: pyarrow.Array, field: pyarrow.Field, wanted: pyarrow.Field) -> pyarrow.Array:
    if is_json(wanted) and not is_json(field):
        return as_json(array)
    return array if array.type == wanted.type else array.cast(wanted.type)


def _with_schema(batch: pyarrow.RecordBatch, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    columns = []
    for wanted in schema:
        index = batch.schema.get_field_index(wanted.name)
        columns.append(
            pyarrow.nulls(len(batch), wanted.type)
            if index < 0
            else _converted(batch.column(index), batch.schema.field(index), wanted)
        )
    return pyarrow.record_batch(columns, schema=schema)


def rows_of(batch: pyarrow.RecordBatch) -> Iterator[Row]:
    """The rows of a batch that was written here, as Python values."""
    names: list[str] = []
    columns: list[list[Any]] = []
    for field, array in zip(batch.schema, batch.columns, strict=True):
        if field.name == LINE_COLUMN:
            continue
        values = values_of(array)
        names.append(field.name)
        # Not orjson, which makes floats of integers beyond 64 bits.
        columns.append(
            [v if v is None else JSON.decode(v) for v in values] if is_json(field) else values
        )
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))
