"""Where things lie, from any depth of the tests."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared"
SHARED_DATA = SHARED / "data"
"""Real data, beside the repository: a test that uses it skips where it is absent."""
