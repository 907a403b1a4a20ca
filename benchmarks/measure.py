"""Measures: what a benchmark gives back, and how a target is judged.

A :class:`Measure` is one row of the table: values of our own, where there is one the values of a
baseline taken in the same minutes, and a target on the value or on their ratio.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

RESULTS = Path(__file__).resolve().parent / "results"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Target:
    """``ratio`` or ``value`` (a median) must be at most or at least ``limit``."""

    of: Literal["ratio", "value"]
    relation: Literal["<=", ">="]
    limit: float

    def met(self, number: float) -> bool:
        """Whether ``number`` reaches the target."""
        return number <= self.limit if self.relation == "<=" else number >= self.limit

    def __str__(self) -> str:
        return f"{'ratio ' if self.of == 'ratio' else ''}{self.relation} {self.limit:g}"


@dataclass(frozen=True)
class Measure:
    """One row. ``values`` and ``baseline`` are runs in ``unit``; of the same length they are pairs.

    The ratio is ours over the baseline's (``inverse``: the baseline's over ours, where "so many
    times faster" is what a reader wants to see): the median of the pairs' ratios, else the ratio
    of the medians.
    """

    name: str
    unit: str
    values: Sequence[float]
    baseline: Sequence[float] = ()
    baseline_name: str = ""
    target: Target | None = None
    inverse: bool = False
    note: str = ""

    @property
    def value(self) -> float:
        """Median of our runs."""
        return statistics.median(self.values)

    @property
    def ratios(self) -> list[float]:
        """Ratio of each pair; of the medians where the runs are no pairs; none without baseline."""
        if not self.baseline:
            return []
        if len(self.baseline) == len(self.values):
            pairs = list(zip(self.values, self.baseline, strict=True))
        else:
            pairs = [(self.value, statistics.median(self.baseline))]
        return [(theirs / ours if self.inverse else ours / theirs) for ours, theirs in pairs]

    @property
    def ratio(self) -> float | None:
        """Median of :attr:`ratios`."""
        return statistics.median(self.ratios) if self.baseline else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% interval of the ratio's median: percentile bootstrap over the pairs (Efron 1979)."""
        ratios = self.ratios
        if len(ratios) < 3:
            return None
        draw = random.Random(0)
        medians = sorted(
            statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(_RESAMPLES)
        )
        return medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES)]

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        number = self.value if self.target.of == "value" else self.ratio
        assert number is not None, f"{self.name}: a target on a ratio needs a baseline"
        return self.target.met(number)

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in the results file."""
        interval = self.interval
        return {
            "name": self.name,
            "value": _short(self.value),
            "unit": self.unit,
            "target": str(self.target) if self.target else None,
            "met": self.met,
            "baseline": _short(statistics.median(self.baseline)) if self.baseline else None,
            "baseline_name": self.baseline_name or None,
            "ratio": _short(self.ratio) if self.ratio is not None else None,
            "ratio_interval": [_short(edge) for edge in interval] if interval else None,
            "spread": [_short(min(self.values)), _short(max(self.values))],
            "runs": len(self.values),
            "note": self.note or None,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_1_min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def write(path: Path, measures: Sequence[Measure], **more: Any) -> None:
    """Write a results file."""
    path.parent.mkdir(exist_ok=True)
    rows = [measure.as_json() for measure in measures]
    path.write_text(json.dumps({"machine": machine(), **more, "results": rows}, indent=1) + "\n")


def _short(number: float) -> float:
    return float(f"{number:.4g}")
