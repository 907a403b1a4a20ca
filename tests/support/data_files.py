"""Small data files for tests, and their rows as the training reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas

from tasks.datasets.parts import open_parts


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write ``text``, byte for byte, in ``encoding``."""
    path.write_bytes(text.encode(encoding))
    return path


def read_rows(path: Path, cache: Path, **options: Any) -> list[dict[str, Any]]:
    """The rows of the train part."""
    return [row for _, row in open_parts(path, cache, **options)[0].rows()]


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """As JSON lines, CSV (with lists as JSON in their cells) or Parquet, by its suffix."""
    frame = pandas.DataFrame(rows)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".csv":
        cells = frame.map(lambda cell: cell if isinstance(cell, str | int) else json.dumps(cell))
        cells.to_csv(path, index=False)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
