"""Rows of jobs at the development backend: made before a start, as a backend makes its own."""

from __future__ import annotations

from typing import Any

import requests

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.fields.clean_urls import clean_url
from trainyard.contract.fields.data_sets import NAMED_CHARACTERS_MAX
from trainyard.direct_http import call

TIMEOUT_S = 10


class BackendError(TrainyardError):
    """The backend refused a call, or did not answer; the text says why."""


def row_of(body: dict[str, Any]) -> dict[str, Any]:
    """The row of a job that ``body``, a start request, asks for."""
    config = body.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    several = body.get("datasets") or (config.get("datasets") if isinstance(config, dict) else None)
    path = body.get("dataset_path") or ""
    if isinstance(config, dict) and isinstance(several, list):
        config = {**config, "datasets": [_stored(one) for one in several]}
        path = ", ".join(str(_path(one)) for one in config["datasets"])[:NAMED_CHARACTERS_MAX]
    return {
        "job_id": body.get("execution_id"),
        "name": body.get("name"),
        "user_id": body.get("user_id") or "local",
        "model_name": (model.get("name") if isinstance(model, dict) else None) or "unknown",
        "dataset_path": path,
        "status": "pending",
        "config": config,
        "job_token": body.get("job_token"),
    }


def _path(data_set: Any) -> Any:
    return data_set.get("path") if isinstance(data_set, dict) else None


def _stored(data_set: Any) -> Any:
    """One of ``datasets`` without a secret in its URL."""
    path = _path(data_set)
    return {**data_set, "path": clean_url(path)} if isinstance(path, str) else data_set


def create_row(backend_url: str, body: dict[str, Any]) -> bool:
    """``POST /api/training/local/jobs``; False if it knows the job already. Raises BackendError."""
    answer = _called("POST", f"{backend_url}/api/training/local/jobs", json=row_of(body))
    if answer.status_code == requests.codes.conflict:
        return False
    if not answer.ok:
        raise BackendError(f"it answers {answer.status_code}: {answer.text[:200]}")
    return True


def delete_row(backend_url: str, job_id: str) -> bool:
    """``DELETE /api/training/local/jobs/ID``; False if it has no such row. Raises BackendError."""
    answer = _called("DELETE", f"{backend_url}/api/training/local/jobs/{job_id}")
    if answer.status_code == requests.codes.not_found:
        return False
    if not answer.ok:
        raise BackendError(f"it answers {answer.status_code}: {answer.text[:200]}")
    return True


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
