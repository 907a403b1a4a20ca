"""Checklist of one's own backend, `trainyard doctor --backend`, made by the courier's client."""

from __future__ import annotations

import json
import subprocess

from trainyard.child_process import python_module
from trainyard.contract.error_tree import TrainyardError
from trainyard.local.finding import Finding

TIMEOUT_S = 180.0
"""Some fifteen requests, of which each may take 10 s."""


def checklist(url: str, job_id: str, token: str) -> list[Finding]:
    """One of each message, sent to the row of ``job_id``. Raises TrainyardError."""
    command = python_module("backend_bridge.delivery.checklist", url, job_id)
    try:
        done = subprocess.run(  # the token goes through a pipe: `ps` shows command lines
            command, input=token, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise TrainyardError(f"{url} does not answer within {TIMEOUT_S:g} s") from None
    if not done.stdout:
        raise TrainyardError(f"the backend cannot be checked: {done.stderr.strip()[-300:]}")
    return [Finding(**one) for one in json.loads(done.stdout)]
