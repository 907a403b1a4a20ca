"""Source as it was opened: its parts, with an account of what of it is used and what is not."""

from __future__ import annotations

from pathlib import Path

from tasks.datasets.parts import Part, open_source
from tasks.datasets.report import Report
from tasks.datasets.shapes.shape import Shape
from tasks.datasets.shapes.training_rows import StoredRows
from tasks.datasets.sources.folder import Choice
from tasks.datasets.sources.locate import DownloadLimits, Located
from tasks.datasets.split import Digests, Indices
from tasks.datasets.used import UsedFile
from trainyard.contract.config import DataConfig


def open_found(
    found: Located, data: DataConfig, cache_dir: Path, report: Report, limits: DownloadLimits
) -> list[Part]:
    """The parts; which files they are of, and which are left out, goes into ``report``."""
    try:
        source = open_source(
            found.path,
            cache_dir,
            name=found.name,
            choice=Choice(found.subset, data.split or None),
            # Rows that cannot be read are counted with those that cannot be trained on.
            skip_bad_rows=True,
            max_bytes=limits.max_bytes,
        )
    finally:
        found.close()  # all rows are in the cache now
    report.used.files = [
        UsedFile(name, part.name, rows) for part in source.parts for name, rows in part.files
    ]
    report.used.left_out = source.left_out
    report.notes += source.notes
    return source.parts


def digests_of(stored: StoredRows, rows: Indices) -> Digests:
    """What tells those rows of a part from each other."""
    found: Digests = stored.dataset.data.column("digest").to_numpy()[rows]
    return found


def unused_columns(parts: list[Part], shape: Shape) -> list[str]:
    """The columns that play no role in the shape."""
    columns = dict.fromkeys(column for part in parts for column in part.columns)
    return [column for column in columns if column not in shape.columns.values()]


def message_keys(stored: list[StoredRows]) -> set[str]:
    """The keys of the messages of all parts."""
    return {key for rows in stored for key in rows.message_keys}
