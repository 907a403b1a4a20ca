"""Bodies of ``POST /api/training/execute`` for tests."""

from __future__ import annotations

from typing import Any

from trainyard.contract.parser import parse_request
from trainyard.contract.request import StartRequest

TOKEN = "tok-7c1e0b52a9"
"""Looks like nothing else that a test writes, so that a leak can be searched for."""


def request_body(job_id: str = "job-1", **changes: Any) -> dict[str, Any]:
    """A small valid body. ``changes`` replace top-level fields; None takes one away.

    ``training``, ``data``, ``lora`` and ``model`` go into ``config``.
    """
    config: dict[str, Any] = {"model": {"name": "tiny"}, "training": {"method": "sft"}}
    for section in ("model", "training", "data", "lora"):
        if section in changes:
            config[section] = changes.pop(section)
    body = {
        "config": config,
        "dataset_path": "data.jsonl",
        "execution_id": job_id,
        "name": "a job",
        "user_id": "u1",
        "job_token": TOKEN,
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


def start_request(job_id: str = "job-1", **changes: Any) -> StartRequest:
    """The same body, parsed."""
    return parse_request(request_body(job_id, **changes))
