"""A job's folder, as the supervisor prepares it: the request, the complete log, the metrics."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from worker.files import write_atomically


def prepare(folder: Path, request: Mapping[str, Any]) -> None:
    """Make the folder and ``request.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "request.json", json.dumps(request, indent=1))


@contextlib.contextmanager
def open_records(folder: Path) -> Iterator[tuple[TextIO, TextIO]]:
    """``train.log`` and ``metrics.jsonl``, to append to."""
    with (
        (folder / "train.log").open("a", encoding="utf-8", errors="replace") as log_file,
        (folder / "metrics.jsonl").open("a", encoding="utf-8") as metrics_file,
    ):
        yield log_file, metrics_file
