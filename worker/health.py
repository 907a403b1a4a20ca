"""Health check of this machine's workers, whether they answer: ``python -m worker.health``."""

from __future__ import annotations

import socket
import sys

from celery import Celery

from trainyard.settings import settings
from worker.launcher import slot_gpus

TIMEOUT_S = 5.0


def silent_workers() -> list[str]:
    """Names of the launcher's workers that do not answer Celery's ping. Raises SettingsError."""
    expected = [f"{slot}@{socket.gethostname()}" for slot in slot_gpus(settings())]
    app = Celery("health", set_as_current=False)
    app.config_from_object("celeryconfig")
    with app.connection_for_write() as connection:
        answers = app.control.ping(
            destination=expected, timeout=TIMEOUT_S, limit=len(expected), connection=connection
        )
    answered = {name for answer in answers for name in answer}
    return sorted(set(expected) - answered)


def main() -> int:
    """Exit code 0 if all answer, 1 if one does not."""
    silent = silent_workers()
    print("no answer from " + ", ".join(silent) if silent else "all workers answer")
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
