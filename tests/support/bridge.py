"""A bridge in this process, without its courier, and what its errors look like."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from tests.support.requests import TOKEN, request_body
from trainyard.log_lines import stamp
from trainyard.store.job_store import JobStore

LINES = [stamp(f"line {n}", at=0) for n in range(5)]


class Running:
    """A bridge without its courier, and the store behind it."""

    def __init__(self, client: TestClient, store: JobStore) -> None:
        self.client = client
        self.store = store

    def start(self, job_id: str = "job-1", **changes: Any) -> Any:
        return self.client.post("/api/training/execute", json=request_body(job_id, **changes))

    def get(self, path: str, **arguments: Any) -> Any:
        return self.client.get(f"/api/training/{path}", **arguments)


def refusal(answer: Any, status: int) -> dict[str, Any]:
    """The body of an error, which is one sentence in the forms that the backend reads."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["success"] is False
    assert body["error"] == body["message"] == body["detail"]
    assert isinstance(body["error"], str)
    assert body["error"]
    assert "Traceback" not in answer.text
    assert TOKEN not in answer.text
    return body
