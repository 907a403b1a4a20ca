"""Questions that are refused before a slot is asked: the sentence names what a person types."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import HTTPException

from backend_bridge.api.generation.routes import admit
from trainyard.contract.generation.messages import GenerateBody


def test_a_job_without_a_model_names_the_option_that_asks_a_checkpoint() -> None:
    job = SimpleNamespace(job_id="j", started_at=1.0, status="paused", result={})
    reachable = SimpleNamespace(files_are_reachable=lambda _: True)
    bridge: Any = SimpleNamespace(job=lambda _: job, dispatcher=reachable)
    with pytest.raises(HTTPException) as refused:
        admit(bridge, "j", GenerateBody(prompt="a"))
    assert refused.value.status_code == 409
    assert "it is paused; `--checkpoint` (`checkpoint` of a request)" in refused.value.detail
