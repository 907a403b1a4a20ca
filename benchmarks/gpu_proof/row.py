"""Row of the proof's table: a figure, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.gpu_proof.sizes import Size
from benchmarks.measure import Target

_HEAD = ("step", "what", "value", "unit", "plain", "ratio", "aim", "met", "machine", "note")


@dataclass(frozen=True)
class Row:
    """``plain``: the same of the plain recipe. ``aim``: judged where there is a GPU alone."""

    what: str
    value: float | None = None
    unit: str = ""
    plain: float | None = None
    aim: Target | None = None
    note: str = ""
    state: Literal["measured", "left out", "failed"] = "measured"

    def as_json(self, step: str, size: Size) -> dict[str, Any]:
        """As it stands in the results file."""
        both = self.value is not None and self.plain
        ratio = self.value / self.plain if both else None  # type: ignore[operator]
        judged = None
        if self.aim is not None and size.on_gpu:
            number = ratio if self.aim.of == "ratio" else self.value
            judged = number is not None and self.aim.met(number)
        return {
            "step": step,
            "what": self.what,
            "state": self.state,
            "value": _short(self.value),
            "unit": self.unit,
            "plain": _short(self.plain),
            "ratio": _short(ratio),
            "aim": str(self.aim or ""),
            "met": judged,
            "machine": size.machine,
            "note": self.note,
        }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for people, in columns."""
    lines = [_HEAD, *(tuple(_cell(name, row) for name in _HEAD) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([padded[0], "-" * sum(widths), *padded[1:]]) + "\n"


def _cell(name: str, row: dict[str, Any]) -> str:
    value = row[name]
    if name == "value" and row["state"] != "measured":
        return str(row["state"]).upper() if row["state"] == "failed" else str(row["state"])
    if name == "met":
        return {True: "yes", False: "no", None: "not judged" if row["aim"] else ""}[value]
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "" if value is None else str(value)


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")
