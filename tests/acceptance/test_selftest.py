"""`trainyard selftest`: on real services it passes, and what is broken it calls broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trainyard.cli import main
from trainyard.local import selftest
from trainyard.local.selftest import PromiseBroken, Trial, TriedPromise


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_promise_holds_here(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("trainyard")
    done = subprocess.run(
        [str(program), "selftest", "--json"],
        cwd=tmp_path,
        env={**os.environ, "TRAINYARD_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    body = json.loads(done.stdout)
    assert body["ok"]
    assert len(body["promises"]) == 5
    assert not (tmp_path / "home" / "selftest").exists()


class Broken(Trial):
    """A trial without services, in which all but one promise is broken."""

    def __init__(self) -> None:
        pass

    def completes(self) -> None:
        """It completes"""

    def pauses(self) -> None:
        """It pauses"""
        raise PromiseBroken("it is failed, not paused: No rows.")

    survives_a_kill = cut_off = cancels = pauses


def test_a_broken_promise_is_told_and_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> Iterator[TriedPromise]:
        return Broken().verdicts()

    monkeypatch.setattr(selftest, "run", run)
    done = CliRunner().invoke(main.main, ["selftest"])
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("pass  It completes")
    assert lines[1].startswith("fail  It pauses")
    assert lines[2].strip() == "it is failed, not paused: No rows."
    assert lines[-1] == "1 of 5 promises hold"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"status": "failed", "error": "No rows."}, "it is failed, not completed: No rows."),
        ({"status": "completed", "error": None}, "in vain: the backend has 2 log lines"),
    ],
)
def test_what_is_found_wrong(
    monkeypatch: pytest.MonkeyPatch, status: dict[str, Any], reason: str
) -> None:
    """The checks on a bridge and a backend that disagree."""

    class Client:
        def status(self, _: str) -> dict[str, Any]:
            return status

        def logs(self, _: str, **__: int) -> dict[str, Any]:
            return {"logs": ["one", "two"]}

        def metrics(self, _: str) -> list[dict[str, Any]]:
            return []

    trial = Broken()
    trial.client = Client()  # type: ignore[assignment]
    stored = {"status": "completed", "logs": ["one"]}
    monkeypatch.setattr(trial, "_stored", lambda *_: stored)
    monkeypatch.setattr(selftest, "WAIT_S", 0.3)
    with pytest.raises(PromiseBroken, match=reason):
        trial._completes_unharmed("j")
