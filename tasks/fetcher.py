"""Fetcher: ``python -m tasks.fetcher SECRETS_FD ANSWER_FD``, an errand as JSON on stdin.

A child of a training that has the secrets and reads nothing but what servers answer: it fetches a
data set or a model into the cache, says as JSON where it lies or why not, and ends.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from tasks import sealed_secrets
from tasks.errors import report
from tasks.output import set_up_output
from trainyard.contract.fields.clean_urls import clean_url


def main(secrets_fd: int, answer_fd: int) -> int:
    """Do the errand; returns the exit code."""
    set_up_output()
    secrets = sealed_secrets.read(secrets_fd)
    os.environ.update(secrets["environment"])
    errand = json.load(sys.stdin)
    try:
        answer = _fetched(errand, secrets["dataset_url"])
    except Exception as error:
        # Whatever happens is the training's to say.
        found = report(error)
        if found.kind == "internal":
            traceback.print_exc()
        answer = {"error": found.model_dump(mode="json")}
    with os.fdopen(answer_fd, "wb") as out:
        out.write(json.dumps(answer).encode())
    return 0


def _fetched(errand: dict[str, Any], dataset_url: str) -> dict[str, Any]:
    # Late: each imports the libraries of its own errand, after HF_ENDPOINT and the like are set.
    if errand["what"] == "model":
        from tasks.models.download import download  # noqa: PLC0415

        return {"path": str(download(**errand["how"]))}
    from tasks.datasets.sources.locate import DownloadLimits, fetched  # noqa: PLC0415

    reference = errand["reference"]
    whole = (url for url in dataset_url.splitlines() if clean_url(url) == reference)
    reference = next(whole, reference)
    limits = DownloadLimits(**errand["limits"])
    found = fetched(reference, Path(errand["cache_dir"]), limits, errand["subset"])
    return {"path": str(found.path), "name": found.name, "subset": found.subset}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
