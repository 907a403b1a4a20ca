"""Where things lie, from any depth of the tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared"
SHARED_DATA = SHARED / "data"
"""Real data, beside the repository: a test that uses it skips where it is absent."""
PRODUCT = ("trainyard", "backend_bridge", "worker", "tasks", "celeryconfig.py", "flowerconfig.py")


def repository_files(*of: str) -> list[str]:
    """Files that git knows or would take, relative to the repository and in order; ``of``: below
    these paths only."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *of]
    names = subprocess.check_output(command, cwd=REPOSITORY, text=True).splitlines()
    return sorted(name for name in set(names) if (REPOSITORY / name).is_file())


def product_files() -> list[str]:
    """Files of the product: all that the wheel holds."""
    return repository_files(*PRODUCT)
