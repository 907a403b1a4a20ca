"""Rounds: every scenario on a fresh start of every system, in turns."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence

from benchmarks.peers.desk_client import DeskFailed
from benchmarks.peers.scenarios import SCENARIOS, Figure, Figures
from benchmarks.peers.system import System

Values = dict[str, dict[str, list[Figure]]]
"""System, measure, one figure a round: the same place in two lists is a pair."""


class Results:
    """``values``, and why a system has none."""

    def __init__(self, names: Sequence[str]) -> None:
        self.values: Values = {name: {} for name in names}
        self.reasons: dict[str, str] = {}

    def add(self, name: str, figures: Figures) -> None:
        """One scenario's figures."""
        for measure, figure in figures.items():
            self.values[name].setdefault(measure, []).append(figure)


def take(
    systems: Mapping[str, Callable[[], System]],
    runs: int,
    results: Results,
    say: Callable[[str], None],
) -> None:
    """Fill ``results``; which system comes first alternates."""
    names = list(systems)
    for number in range(runs):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            if name not in results.reasons:
                say(f"{name}, round {number + 1} of {runs} ...")
                _round(name, systems[name], results, say)


def _round(
    name: str, make: Callable[[], System], results: Results, say: Callable[[str], None]
) -> None:
    for scenario, measures in SCENARIOS.items():
        started = False
        try:
            with make() as system:
                started = True
                say(f"  {scenario.__name__}")
                figures = scenario(system)
        except (AssertionError, DeskFailed, OSError, RuntimeError, LookupError) as problem:
            reason = next(iter(str(problem).splitlines()), "") or type(problem).__name__
            if not started and not any(results.values[name].values()):
                results.reasons[name] = reason
                return
            traceback.print_exc()
            figures = dict.fromkeys(measures, f"failed: {reason}")
        results.add(name, figures)
