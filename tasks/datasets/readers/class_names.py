"""Class names: what the numbers of a ClassLabel column stand for.

Hugging Face's datasets write them beside the schema of Parquet and Arrow files
(https://huggingface.co/docs/datasets/about_dataset_features#classlabel). A number would be trained
on as a number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow
import pyarrow.compute

NAMES_MAX, NAME_CHARACTERS_MAX = 10_000, 200
"""More is no list of classes, and each row would be as long."""


def with_class_names(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """``batch`` with names for the numbers of classes; null for one that has none."""
    for column, names in _classes(batch.schema):
        for index in batch.schema.get_all_field_indices(column):
            numbers = batch.column(index)
            if pyarrow.types.is_integer(numbers.type):
                known = pyarrow.compute.and_(
                    pyarrow.compute.greater_equal(numbers, 0),
                    pyarrow.compute.less(numbers, len(names)),
                )
                nothing = pyarrow.scalar(None, numbers.type)
                words = names.take(pyarrow.compute.if_else(known, numbers, nothing))
                batch = batch.set_column(index, column, words)
    return batch


def _classes(schema: pyarrow.Schema) -> Iterator[tuple[str, pyarrow.Array]]:
    features = _features((schema.metadata or {}).get(b"huggingface", b""))
    for column, feature in features.items():
        names = feature.get("names") if isinstance(feature, dict) else None
        if (
            isinstance(names, list)
            and 0 < len(names) <= NAMES_MAX
            and all(isinstance(name, str) and len(name) <= NAME_CHARACTERS_MAX for name in names)
            and feature.get("_type") == "ClassLabel"
        ):
            yield column, pyarrow.array(names, pyarrow.string())


def _features(described: bytes) -> dict[str, Any]:
    """{} if ``described``, which is a stranger's, is not what datasets writes."""
    try:
        features = json.loads(described)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}
