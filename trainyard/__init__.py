"""Trainyard: fine-tuning jobs on the GPUs that a team already owns.

``from trainyard import Client`` trains from Python; importing the package itself loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainyard.python_client import Client, JobFailed, TrainingJob, TrainyardError

__all__ = ["Client", "JobFailed", "TrainingJob", "TrainyardError", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        # Late: it needs HTTP and the settings, which `trainyard --version` does without.
        from trainyard import python_client  # noqa: PLC0415

        return getattr(python_client, name)
    raise AttributeError(f"module 'trainyard' has no attribute {name!r}")
