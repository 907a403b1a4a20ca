"""Small data files for tests, and their rows as the training reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.datasets.parts import open_parts


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write ``text``, byte for byte, in ``encoding``."""
    path.write_bytes(text.encode(encoding))
    return path


def read_rows(path: Path, cache: Path, **options: Any) -> list[dict[str, Any]]:
    """The rows of the train part."""
    return [row for _, row in open_parts(path, cache, **options)[0].rows()]
