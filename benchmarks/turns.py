"""Two checkouts in turns: ``make bench-turns OTHER=/path/to/checkout ONLY=start,pause ROUNDS=3``.

Each checkout runs its own benchmarks in its own environment, one after the other, round by round,
and the order changes with each round, so that a machine that grows busier slows both. What is
compared is this one's speed over the other's: above 1 this checkout is faster. A row that has a
baseline of its own is compared by its ratio to that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 - as below
from rich.table import Table  # noqa: E402 - as below

from benchmarks.measure import Measure  # noqa: E402 - from the repository's root

Rows = dict[str, dict[str, Any]]


def run(checkout: Path, only: str) -> Rows:
    """The rows of one run of a checkout's benchmarks, by name."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "rows.json"
        command = [checkout / ".venv/bin/python", "benchmarks/run.py"]
        options = ["--only", only, "--output", str(output)]
        subprocess.run([*command, *options], cwd=checkout, check=True, stdout=subprocess.DEVNULL)
        return {row["name"]: row for row in json.loads(output.read_text())["results"]}


def speed(row: dict[str, Any]) -> float:
    """A figure of which more is better."""
    if row["unit"].endswith("/s"):
        return float(row["ratio"] or row["value"])
    return 1 / float(row["value"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, help="a checkout with an environment of its own")
    parser.add_argument("--only", required=True, metavar="NAME[,NAME]")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ours: dict[str, list[float]] = defaultdict(list)
    theirs: dict[str, list[float]] = defaultdict(list)
    for number in range(options.rounds):
        order = [(ROOT, ours), (options.other.resolve(), theirs)]
        for checkout, kept in order[:: -1 if number % 2 else 1]:
            for name, row in run(checkout, options.only).items():
                if row["value"]:  # a phase that takes no time has no speed
                    kept[name].append(speed(row))
    table = Table("name", "speed: this / other", "95%", "rounds")
    for name in ours.keys() & theirs.keys():
        measure = Measure(name, "", ours[name], theirs[name])
        low, high = measure.interval or (float("nan"), float("nan"))
        table.add_row(name, f"{measure.ratio:.3f}", f"{low:.3f} to {high:.3f}", str(options.rounds))
    Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
