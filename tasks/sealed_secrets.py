"""Sealed secrets: tokens, keys and the data set's whole URL, as a training has them: unread.

The supervisor hands them over in a sealed file, which this process does not read while strangers'
files are: a reader that is led astray by one shows what is in memory. What is fetched with a secret
is fetched by a child (``tasks.fetcher``) that reads it, writes files, and ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tasks.errors import (
    ConfigurationError,
    DatasetError,
    GatedModel,
    ModelError,
    ModelNotFound,
    TrainingError,
)
from trainyard.contract.errors import ErrorReport

FD_VARIABLE = "TRAINYARD_SECRETS_FD"
_ERRORS = {
    kind.kind: kind
    for kind in (DatasetError, ModelError, ModelNotFound, GatedModel, ConfigurationError)
}
_kept: int | None = None


def keep(descriptor: int) -> None:
    """Keep what the supervisor has sent; what an earlier attempt in this process had is closed."""
    global _kept  # noqa: PLW0603  # of the process, as its environment is
    if _kept is not None:
        os.close(_kept)
    _kept = descriptor
    os.set_inheritable(descriptor, False)


def keep_from_environment() -> None:
    """Keep what this process was started with, if anything."""
    if value := os.environ.pop(FD_VARIABLE, None):
        keep(int(value))


def are_kept() -> bool:
    """Whether what is fetched must be fetched by a child."""
    return _kept is not None


def read(descriptor: int) -> dict[str, Any]:
    """What is in a sealed file. For processes that read nothing foreign afterwards, or yet."""
    content: dict[str, Any] = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    return content


def reveal(beginnings: Collection[str], endings: Collection[str] = ()) -> None:
    """Put the secrets of such names into the environment: when all that is foreign was read."""
    if _kept is not None:
        for name, value in read(_kept)["environment"].items():
            if name.startswith(tuple(beginnings)) or name.upper().endswith(tuple(endings)):
                os.environ[name] = value


def fetch(errand: Mapping[str, Any]) -> dict[str, Any]:
    """Let a child do the errand (see ``tasks.fetcher``). Raises what it failed with."""
    assert _kept is not None, "asked only if secrets are kept"
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as answers:
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "tasks.fetcher", str(_kept), str(writing)],
                stdin=subprocess.PIPE,
                pass_fds=(_kept, writing),
            )
        finally:
            os.close(writing)
        assert child.stdin is not None
        with child, child.stdin:
            child.stdin.write(json.dumps(errand).encode())
            child.stdin.close()
            answer = answers.read()
    if not answer:
        raise TrainingError(f"What fetches the job's files ended with {child.returncode}.")
    found: dict[str, Any] = json.loads(answer)
    if "error" in found:
        raise _error_of(ErrorReport.model_validate(found["error"]))
    return found


def _error_of(report: ErrorReport) -> TrainingError:
    error = _ERRORS.get(report.kind, TrainingError)(report.message, report.hint)
    error.kind = report.kind
    return error


def path_of(found: Mapping[str, Any]) -> Path:
    """Where what was fetched lies."""
    return Path(found["path"])
