"""Arrow and Parquet files with flipped bytes: each is read or refused, and nothing crashes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

PROGRAM = Path(__file__).with_name("flipped_bytes.py")


@pytest.mark.parametrize(
    "count", [60, pytest.param(5000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_flipped_bytes_are_read_or_refused(count: int, tmp_path: Path) -> None:
    """In memory that is filled with other values: what is not written is not zero."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), str(count), "19"],
        env={**os.environ, "MALLOC_PERTURB_": "165", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    read, refused = map(int, done.stdout.split())
    assert read + refused == count
    assert refused > count / 10
