"""Makes a training hang before its first step: while ``$STUCK_FLAG`` exists, a file named
``stuck.jsonl`` takes an hour to open, as on a network drive that does not answer.

Python imports this file at its start where the folder is on PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any


def _on_audit_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and str(arguments[0]).endswith("stuck.jsonl") and _FLAG.exists():
        time.sleep(3600)


if "STUCK_FLAG" in os.environ and "worker.slot_process" in sys.orig_argv:
    _FLAG = Path(os.environ["STUCK_FLAG"])
    sys.addaudithook(_on_audit_event)
