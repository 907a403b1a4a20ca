"""Content hash of a file, computed again only if the file may have changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from pathlib import Path

from tasks.errors import DatasetError

SETTLED_S = 0.1
COARSELY_SETTLED_S = 2.0
"""A file changed later than this before it was hashed may change again within one tick of the file
system's clock, unseen: its hash is not kept. Some clocks tick in seconds: their times are whole."""


def content_of(path: Path, cache_dir: Path) -> str:
    """SHA-256 (hex) of the file's bytes, or of a folder's files and their names.

    Kept in the cache, and computed again where size, inode or change time are others. The change
    time cannot be set back, so a rewrite that keeps the modification time is noticed.
    """
    if not path.is_dir():
        return _of_file(path, cache_dir)
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        name = os.fsencode(file.relative_to(path))
        digest.update(name + b"\0" + _of_file(file, cache_dir).encode() + b"\0")
    return digest.hexdigest()


def _of_file(path: Path, cache_dir: Path) -> str:
    stat = path.stat()
    state = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_ctime_ns, stat.st_mtime_ns]
    memo = cache_dir / "content" / f"{stat.st_dev:x}-{stat.st_ino:x}.json"
    kept = _read_memo(memo)
    if kept is not None and kept["state"] == state:
        return str(kept["sha256"])
    tick = SETTLED_S if stat.st_ctime_ns % 10**9 else COARSELY_SETTLED_S
    settled = time.time() - stat.st_ctime > tick
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError as error:
        raise DatasetError(
            f"The file {path.name!r} of the data set may not be read by this user.",
            "Give the user of the worker the right to read it.",
        ) from error
    if settled:
        _write_memo(memo, {"state": state, "sha256": found})
    return found


def _read_memo(memo: Path) -> dict[str, object] | None:
    try:
        kept = json.loads(memo.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return kept if isinstance(kept, dict) and {"state", "sha256"} <= set(kept) else None


def _write_memo(memo: Path, kept: dict[str, object]) -> None:
    memo.parent.mkdir(parents=True, exist_ok=True)
    partial = memo.with_suffix(f".{uuid.uuid4().hex}.partial")
    partial.write_text(json.dumps(kept))
    partial.replace(memo)
