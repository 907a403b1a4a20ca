"""Rights of a result: who serves a model reads it, and nothing else of its job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.results.files import make_readable


@pytest.fixture(autouse=True)
def private_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.parametrize(
    ("setting", "file", "folder", "above"),
    [("0640", 0o640, 0o750, 0o710), ("0600", 0o600, 0o700, 0o700)],
)
def test_the_group_reads_the_model_and_nothing_else(
    tmp_path: Path, setting: str, file: int, folder: int, above: int
) -> None:
    job = tmp_path / "jobs" / "mine"
    merged = job / "model.partial" / "merged"
    merged.mkdir(parents=True)
    for path in (job / "train.log", merged / "a.safetensors", merged.parent / "README.md"):
        path.write_text("x")
    (merged.parent / "README.md").chmod(0o644)  # as some library wrote it

    make_readable(merged.parent, int(setting, 8))

    rights = {str(p.relative_to(tmp_path)): p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")}
    assert rights == {
        "jobs": above,
        "jobs/mine": above,
        "jobs/mine/train.log": 0o600,
        "jobs/mine/model.partial": folder,
        "jobs/mine/model.partial/README.md": file,
        "jobs/mine/model.partial/merged": folder,
        "jobs/mine/model.partial/merged/a.safetensors": file,
    }
