"""What the demo says to people."""

from __future__ import annotations

import pytest

from tasks.datasets.shapes.shape import needs
from trainyard.cli import demo


def test_a_job_that_failed_names_the_demo_s_own_option() -> None:
    job = {"status": "failed", "error": "No usable column", "error_hint": needs("sft", ["Frage"])}
    said = str(demo._failed(job))
    assert "told with --column ROLE=COLUMN, as in" in said
    assert "config." not in said
    assert str(demo._failed({**job, "error_hint": None})) == "the job is failed: No usable column"


def test_an_interrupt_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "interrupt_on_stop_signals", lambda: None)
    monkeypatch.setattr(demo, "_run", interrupted)
    assert demo.run(demo.Wanted(None, None, {}, None, None)) == 130
    assert capsys.readouterr().out.startswith("Interrupted; all services are stopped.\n0.0 s in")
