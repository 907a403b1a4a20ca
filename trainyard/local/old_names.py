"""Names of the settings of an HTTP worker, which are not read: said at the start, not silently so.

Some of them are in many a machine's environment for other reasons. Those are named only in company
of one that is not, or if they stand in ``.env``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

PLAIN = {
    "DATASETS_DIR": "DATASET_ROOTS",
    "MODELS_DIR": "MODEL_ROOTS",
    "MAX_CONCURRENT_JOBS": "SLOTS",
}
COMMON = {"PORT": "BRIDGE_PORT", "HOST": "BRIDGE_HOST", "API_KEY": "BRIDGE_API_KEY"}
COMPOSE = {"DATASETS_DIR", "MODELS_DIR"}
"""In ``.env`` they are for docker-compose.yml, which mounts these folders."""
_PAGE = "docs/how-to/moving-from-an-http-worker.md"


def unread_names(environment: Mapping[str, str], env_file: Path = Path(".env")) -> list[str]:
    """A sentence for each old name that somebody seems to count on."""
    in_file = {name for name in dotenv_values(env_file) if name not in COMPOSE}
    given = {name for name, value in environment.items() if value} | in_file
    found = given & PLAIN.keys()
    found |= given & COMMON.keys() if found else in_file & COMMON.keys()
    names = {name: new for name, new in (PLAIN | COMMON).items() if name in found}
    return [
        f"{name} is not read: the setting is called {new} ({_PAGE})."
        for name, new in names.items()
        if new not in given
    ]
