"""Findings about the backend: the checklist of one's own, and whether jobs can be fetched there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

from trainyard.child_process import python_module
from trainyard.contract.error_tree import TrainyardError
from trainyard.local.diagnosis.finding import Finding
from trainyard.scheduling.pull import LOST_SUFFIX, PullTrouble, pull_client, pull_folder
from trainyard.settings import Settings

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


def pull_findings(settings: Settings) -> Iterator[Finding]:
    """None without PULL_URL. Asks the backend once, and claims nothing."""
    client = pull_client(settings)
    if client is None:
        return
    try:
        poll = client.poll()
    except PullTrouble as trouble:
        mend = "See PULL_URL, PULL_API_KEY and PULL_AGENT_ID; 401 means another key."
        yield Finding("pull", "failure", f"No jobs can be fetched: {trouble}", mend)
    else:
        waits = "one waits" if poll.job else "none waits"
        yield Finding("pull", "ok", f"Jobs are fetched from {settings.pull_url}; {waits}.")
    for note in sorted(pull_folder(settings).glob(f"*{LOST_SUFFIX}")):
        job_id = note.name.removesuffix(LOST_SUFFIX)
        yield Finding(
            "pull",
            "warning",
            f"Job {job_id} was claimed and the answer, with its token, was lost: the backend shows "
            "it as running, and nothing runs.",
            f"Start it again at the backend, then delete {note}.",
        )
