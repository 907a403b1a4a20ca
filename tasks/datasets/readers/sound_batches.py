"""Sound batches: what an Arrow file says of itself does not lead out of its own memory.

A batch is used as it lies in the file, so that an offset in it is an address: one that is wrong
reads whatever this process holds there, as rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow

ROWS_PER_BYTE_MAX = 8
"""A truth value takes a bit. More rows than that are only claimed, and would be made of nothing."""


def sound(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """``batch`` itself. Raises ArrowInvalid if what is in it leads out of its memory.

    Text that is no UTF-8 is a problem of its row, and stays.
    """
    size = batch.get_total_buffer_size()  # not nbytes, which follows the offsets
    if len(batch) > ROWS_PER_BYTE_MAX * max(1, size):
        raise pyarrow.ArrowInvalid(f"{len(batch):,} rows in {size:,} bytes")
    try:
        batch.validate(full=True)
    except pyarrow.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        # It looks no further than the first text that is wrong: what comes after it, and what is
        # around it, is looked at as bytes. These do not know how large their buffers are, but take
        # it from the last offsets: so those are looked at first.
        batch.validate()
        _as_bytes(batch).validate(full=True)
    return batch


def _as_bytes(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """The same memory, with bytes for every text in it, however deep."""
    schema = pyarrow.schema([field.with_type(_bytes_for(field.type)) for field in batch.schema])
    _, memory = batch.__arrow_c_array__()
    return pyarrow.RecordBatch._import_from_c_capsule(schema.__arrow_c_schema__(), memory)


def _bytes_for(kind: pyarrow.DataType) -> pyarrow.DataType:
    types = pyarrow.types
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _bytes_for(kind.storage_type)
    if types.is_dictionary(kind):
        return pyarrow.dictionary(kind.index_type, _bytes_for(kind.value_type), kind.ordered)
    if types.is_run_end_encoded(kind):
        return pyarrow.run_end_encoded(kind.run_end_type, _bytes_for(kind.value_type))
    for is_text, plain in (
        (types.is_string, pyarrow.binary()),
        (types.is_large_string, pyarrow.large_binary()),
        (types.is_string_view, pyarrow.binary_view()),
    ):
        if is_text(kind):
            return plain
    inner = list(_inner(kind))
    return _with_inner(kind, inner) if inner else kind


def _inner(kind: pyarrow.DataType) -> Iterator[pyarrow.Field]:
    for index in range(kind.num_fields):
        field = kind.field(index)
        yield field.with_type(_bytes_for(field.type))


def _with_inner(kind: pyarrow.DataType, inner: list[pyarrow.Field]) -> pyarrow.DataType:
    types = pyarrow.types
    if types.is_struct(kind):
        return pyarrow.struct(inner)
    if types.is_map(kind):
        entries = inner[0].type
        return pyarrow.map_(entries.field(0), entries.field(1), kind.keys_sorted)
    if types.is_union(kind):
        return pyarrow.union(inner, kind.mode, type_codes=kind.type_codes)
    if types.is_fixed_size_list(kind):
        return pyarrow.list_(inner[0], kind.list_size)
    for is_list, make in (
        (types.is_list, pyarrow.list_),
        (types.is_large_list, pyarrow.large_list),
        (types.is_list_view, pyarrow.list_view),
        (types.is_large_list_view, pyarrow.large_list_view),
    ):
        if is_list(kind):
            return make(inner[0])
    raise pyarrow.ArrowInvalid(f"a column of {kind}, which cannot be looked through")
