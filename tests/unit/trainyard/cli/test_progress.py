"""Progress of a job where there is no terminal: a line now and then, and none twice."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from backend_bridge.api.responses import JobAnswer
from trainyard.cli import progress
from trainyard.cli.progress import ProgressView
from trainyard.contract.statuses import JobStatus
from trainyard.store.job import Job


def test_what_has_not_changed_is_not_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", -1.0)
    output = io.StringIO()
    view = ProgressView(Console(file=output))
    for place in (2, 2, 1, 1, 1):
        queued = Job("j", JobStatus.QUEUED, 1, 0.0, 0.0, model="tiny")
        view.update(JobAnswer.of(queued, place).model_dump(mode="json"))
    assert output.getvalue().splitlines() == ["queued: position 2", "queued: position 1"]
