"""A bridge with a home of its own, as OpenAI's clients see it, and its refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.bridge import Running

ROWS = (
    b'{"messages": [{"role": "user", "content": "2 + 2"}, {"role": "assistant", "content": "4"}]}\n'
)


class Yard:
    """One bridge as a client of OpenAI's sees it; no backend answers."""

    def __init__(self, running: Running, home: Path) -> None:
        self.client = running.client
        self.store = running.store
        self.home = home

    def upload(self, rows: bytes = ROWS, name: str = "rows.jsonl", **form: str) -> Any:
        fields = {"purpose": "fine-tune", **form}
        return self.client.post("/v1/files", files={"file": (name, rows)}, data=fields)

    def file_id(self) -> str:
        return str(self.upload().json()["id"])

    def create(self, **changes: Any) -> Any:
        body = {"model": "tiny", "training_file": changes.pop("training_file", None), **changes}
        body["training_file"] = body["training_file"] or self.file_id()
        return self.client.post("/v1/fine_tuning/jobs", json=body)

    def get(self, path: str, **arguments: Any) -> Any:
        return self.client.get(f"/v1/{path}", **arguments)


def refused(answer: Any, status: int, param: str | None = None) -> str:
    """The sentence of a refusal in OpenAI's form."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param, error
    return str(error["message"])
