"""Tests of the scenarios' words, and of the rate of a job that was begun twice."""

from __future__ import annotations

import pytest

from benchmarks.peers import scenarios


@pytest.mark.parametrize(
    ("attempts", "says", "first_lives", "found"),
    [
        (2, "FAILURE", False, "runs again"),
        (2, "running", True, "runs twice at once"),
        (1, "FAILURE", False, "failed (`FAILURE`)"),
        (1, "failed (WorkerCrashedError)", False, "failed (`failed (WorkerCrashedError)`)"),
        (1, "STARTED", False, "does not run again, still called running (`STARTED`)"),
        (1, "not ready", True, "trains on without a worker (`not ready`)"),
        (1, None, True, "trains on without a worker (has no call for its state)"),
        (1, "scheduled", False, "waits (`scheduled`)"),
        (1, "unknown", False, "lost (`unknown`)"),
        (1, None, False, "does not run again (has no call for its state)"),
    ],
)
def test_outcome_in_one_vocabulary(
    attempts: int, says: str | None, first_lives: bool, found: str
) -> None:
    assert scenarios.outcome(attempts, says, first_lives) == found


def test_the_rate_is_from_the_tenth_step_on() -> None:
    steps = [(float(10 * n), n) for n in range(1, 10)] + [(100 + 0.5 * n, n) for n in range(10, 61)]
    assert scenarios.steps_per_s(steps) == 2.0


def test_every_measure_is_of_one_scenario() -> None:
    found = [name for names in scenarios.SCENARIOS.values() for name in names]
    assert sorted(found) == sorted(scenarios.MEASURES)
