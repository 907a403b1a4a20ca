"""Rows of jobs at the development backend: made before a start, as a backend makes its own."""

from __future__ import annotations

from typing import Any

import requests

from trainyard.contract.error_tree import TrainyardError
from trainyard.direct_http import call
from trainyard.settings import Settings

TIMEOUT_S = 10


class BackendError(TrainyardError):
    """The backend refused a call, or did not answer; the text says why."""


def create_at_development_backend(current: Settings, body: Any) -> str | None:
    """Make the job known to the development backend; nothing is done if BACKEND_URL is set.

    Returns why it could not be: a request that is refused there is mostly refused by the bridge
    too, in better words.
    """
    if "backend_url" not in current.model_fields_set and isinstance(body, dict):
        try:
            create_row(current.backend_url, body)
        except BackendError as error:
            return str(error)
    return None


def create_row(backend_url: str, body: dict[str, Any]) -> None:
    """``POST /api/training/local/jobs``. Raises BackendError."""
    config = body.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    answer = _called(
        "POST",
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
    )
    if not answer.ok and answer.status_code != requests.codes.conflict:  # it knows the job already
        raise BackendError(f"it answers {answer.status_code}: {answer.text[:200]}")


def stored(backend_url: str, job_id: str, what: str = "status") -> dict[str, Any]:
    """What the development backend has of a job: its ``status``, ``logs`` or ``metrics``.

    Raises BackendError.
    """
    answer = _called("GET", f"{backend_url}/api/training/local/{job_id}/{what}")
    if not answer.ok:
        raise BackendError(f"it answers {answer.status_code}: {answer.text[:200]}")
    found: dict[str, Any] = answer.json()
    return found


def _called(method: str, url: str, **arguments: Any) -> requests.Response:
    try:
        return call(method, url, timeout_s=TIMEOUT_S, **arguments)
    except requests.RequestException as error:
        raise BackendError(f"no backend answers at {url} ({type(error).__name__})") from error
