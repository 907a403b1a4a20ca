"""Findings about pull mode: whether the backend takes this yard's key, and what was lost."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.local.finding import Finding
from trainyard.scheduling.pull import LOST_SUFFIX, PullTrouble, pull_client, pull_folder
from trainyard.settings import Settings


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
