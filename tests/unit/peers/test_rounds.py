"""Tests of the rounds, on systems that are none."""

from __future__ import annotations

from typing import Any, Self

import pytest

from benchmarks.peers import rounds
from benchmarks.peers.desk_client import DeskFailed


class FakeSystem:
    """Notes that it was started; ``fails`` at its start."""

    def __init__(self, name: str, started: list[str], fails: bool = False) -> None:
        self.name, self._started, self._fails = name, started, fails

    def __enter__(self) -> Self:
        if self._fails:
            raise DeskFailed("ModuleNotFoundError: No module named 'rq'")
        self._started.append(self.name)
        return self

    def __exit__(self, *_: object) -> None:
        self._started.append(f"{self.name} ends")


@pytest.fixture
def scenario(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the one scenario gives for a system's name, or raises."""
    gives: dict[str, Any] = {}

    def start(system: Any) -> Any:
        if isinstance(found := gives[system.name], Exception):
            raise found
        return found

    monkeypatch.setattr(rounds, "SCENARIOS", {start: ("start_first", "cancel")})
    return gives


def _take(runs: int, started: list[str], fails: str = "") -> rounds.Results:
    names = ("one", "other")
    results = rounds.Results(names)
    systems = {n: lambda n=n: FakeSystem(n, started, fails=n == fails) for n in names}
    rounds.take(systems, runs, results, lambda _: None)  # type: ignore[arg-type]
    return results


def test_every_system_has_its_turn_and_the_first_alternates(scenario: dict[str, Any]) -> None:
    scenario.update(one={"start_first": 1.0}, other={"start_first": 2.0})
    started: list[str] = []
    results = _take(2, started)
    assert started == [
        *("one", "one ends", "other", "other ends"),
        *("other", "other ends", "one", "one ends"),
    ]
    assert results.values == {
        "one": {"start_first": [1.0] * 2},
        "other": {"start_first": [2.0] * 2},
    }


def test_a_system_that_cannot_be_started_is_left_out_with_the_reason(
    scenario: dict[str, Any],
) -> None:
    scenario.update(one={"start_first": 1.0})
    results = _take(3, [], fails="other")
    assert results.reasons == {"other": "ModuleNotFoundError: No module named 'rq'"}
    assert results.values == {"one": {"start_first": [1.0] * 3}, "other": {}}


def test_a_scenario_that_fails_is_words_in_its_cells_and_the_others_go_on(
    scenario: dict[str, Any],
) -> None:
    scenario.update(one=AssertionError("waited in vain\nmore"), other={"start_first": 2.0})
    started: list[str] = []
    results = _take(1, started)
    failed = ["failed: waited in vain"]
    assert results.values["one"] == {"start_first": failed, "cancel": failed}
    assert results.values["other"] == {"start_first": [2.0]}
    assert "one ends" in started


def test_ctrl_c_ends_what_runs(scenario: dict[str, Any]) -> None:
    class CtrlC(Exception):
        """Like KeyboardInterrupt none of what a scenario may raise."""

    scenario.update(one=CtrlC())
    started: list[str] = []
    with pytest.raises(CtrlC):
        _take(1, started)
    assert started == ["one", "one ends"]
