"""The row that a backend makes before it starts a job, where the backend is ours."""

from __future__ import annotations

import logging
from typing import Any

import requests

from backend_bridge.settings import Settings

TIMEOUT_S = 10
log = logging.getLogger(__name__)


def create_at_development_backend(current: Settings, body: Any) -> None:
    """Make the job known to the development backend; nothing is done where BACKEND_URL is set.

    A request that is refused there, or a backend that is away, is the bridge's to complain about.
    """
    if "backend_url" not in current.model_fields_set and isinstance(body, dict):
        try:
            create_row(current.backend_url, body)
        except requests.RequestException as error:
            log.warning("the development backend does not know this job: %s", error)


def create_row(backend_url: str, body: dict[str, Any]) -> None:
    """``POST /api/training/local/jobs``. Raises requests.RequestException where that fails."""
    config = body.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    answer = requests.post(
        f"{backend_url}/api/training/local/jobs",
        json={
            "job_id": body.get("execution_id"),
            "user_id": body.get("user_id") or "local",
            "model_name": (model.get("name") if isinstance(model, dict) else None) or "unknown",
            "dataset_path": body.get("dataset_path") or "",
            "status": "pending",
            "config": config,
            "job_token": body.get("job_token"),
        },
        timeout=TIMEOUT_S,
    )
    if not answer.ok and answer.status_code != requests.codes.conflict:  # it knows the job already
        sentence = f"it answers {answer.status_code}: {answer.text[:200]}"
        raise requests.HTTPError(sentence, response=answer)
