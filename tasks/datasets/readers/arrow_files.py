"""Batches of Parquet, of Arrow streams, and of Arrow files (Feather)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet

from tasks.datasets.readers.class_names import with_class_names
from tasks.datasets.readers.columns import check_columns
from tasks.datasets.readers.problems import Problems
from tasks.datasets.readers.rows import Batch
from tasks.datasets.readers.sound_batches import sound
from tasks.errors import DatasetError

ROWS_PER_BATCH = 2000
_DAMAGED = (pyarrow.ArrowException, UnicodeDecodeError, OSError)


def read_parquet(path: Path, name: str, _: Problems, *, damaged: bool) -> Iterator[Batch]:
    """Yield the batches. Raises DatasetError where the file is damaged."""
    try:
        # Buffered, or all bytes of a row group, which may be all of the file, would be held.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            check_columns(file.metadata.num_columns)
            for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
                yield Batch(with_class_names(_named(batch)))
    except _DAMAGED as error:
        raise _damaged("Parquet", name, error) from error


def read_arrow(path: Path, name: str, _: Problems, *, damaged: bool) -> Iterator[Batch]:
    """Yield the batches of a stream or a file. Raises DatasetError where it is damaged.

    They are copies: of a mapping, numbers in the file would lead to this process's memory around
    it, and who may write to the file could change what was looked at already.
    """
    try:
        with pyarrow.OSFile(str(path)) as file:
            if file.read(6) == b"ARROW1":
                with pyarrow.ipc.open_file(file) as batches:
                    numbers = range(batches.num_record_batches)
                    yield from _sound(batches.schema, map(batches.get_batch, numbers))
            else:
                file.seek(0)
                with pyarrow.ipc.open_stream(file) as stream:
                    yield from _sound(stream.schema, stream)
                if file.tell() < file.size():
                    raise pyarrow.ArrowInvalid("its stream ends before the file does")
    except _DAMAGED as error:
        raise _damaged("Arrow", name, error) from error


def _named(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """``batch`` itself. Raises UnicodeDecodeError where the name of a column is no text."""
    _ = batch.schema.names
    return batch


def _sound(schema: pyarrow.Schema, batches: Iterable[pyarrow.RecordBatch]) -> Iterator[Batch]:
    check_columns(len(schema))
    for batch in batches:
        named = with_class_names(_named(sound(batch)))
        for start in range(0, len(named), ROWS_PER_BATCH):
            yield Batch(named.slice(start, ROWS_PER_BATCH))


def _damaged(what: str, name: str, error: BaseException) -> DatasetError:
    reason = " ".join(str(error).split())
    return DatasetError(
        f"The data set {name!r} is damaged {what}: {reason}", "Write or copy it again."
    )
