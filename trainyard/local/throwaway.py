"""Throwaway yard of one command: free ports, a Redis and a home of its own; its scripts.

Exceptions:

    ScriptFailed (TrainyardError)    a script of ``tasks.demo`` ended badly; its last words
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from trainyard.child_process import python_module
from trainyard.contract.error_tree import TrainyardError
from trainyard.local.ports import free_ports
from trainyard.local.services import Ports
from trainyard.settings import settings


class ScriptFailed(TrainyardError):
    """A script of ``tasks.demo`` failed."""


def free_service_ports() -> Ports:
    bridge, flower, backend = free_ports(3)
    return Ports(bridge=bridge, flower=flower, backend=backend)


def private_environment(home: Path, dataset: Path, model: str) -> dict[str, str]:
    """A person's own yard may read where its data set and model lie."""
    folder = Path(model)
    model_root = folder.resolve().parent if folder.exists() or folder.is_absolute() else home
    return {
        "TRAINYARD_HOME": str(home),
        "DATASET_ROOTS": str(dataset.parent),
        "MODEL_ROOTS": str(model_root),
        "REDIS_URL": "embedded",  # its jobs are nobody else's
        "EMBEDDED_REDIS_PORT": "0",
        "BRIDGE_HOST": "127.0.0.1",
    }


def api_key() -> str | None:
    """The key of the settings, which the yard's bridge asks for as well."""
    key = settings().bridge_api_key
    return key.get_secret_value() if key else None


def run_script(name: str, *arguments: str) -> str:
    """Run a script of ``tasks.demo``; returns what it printed. Raises ScriptFailed."""
    done = subprocess.run(
        python_module(f"tasks.demo.{name}", *arguments),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "true"},
    )
    if done.returncode != 0:
        raise ScriptFailed(f"tasks.demo.{name} failed:\n{done.stderr[-2000:]}")
    return done.stdout
