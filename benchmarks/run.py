"""Every promise of speed and memory, measured: ``make bench``, ``make bench ONLY=name[,name]``.

Each benchmark runs ours and its baseline in the same minutes and gives rows of one table, which
also goes to ``benchmarks/results/latest.json``. Ratios count; absolute times of a shared machine
are noise. ``FULL=1`` takes the long forms: more runs, larger files.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measure import RESULTS, Measure, write  # noqa: E402 - from the repository's root

BENCHMARKS: dict[str, str] = {
    "pause": "lifecycle:pause",
    "resume_warm": "lifecycle:resume_warm",
    "resume_cold": "lifecycle:resume_cold",
    "cancel_hung": "lifecycle:cancel_hung",
    "recover": "lifecycle:recover",
    "status_latency": "reporting:status_latency",
    "log_intake": "intake:log_intake",
    "log_delivery": "reporting:log_delivery",
    "catching_up": "reporting:catching_up",
    "forwarder_memory": "reporting:forwarder_memory",
    "data": "data:reading",
    "tokenise": "tokenise:tokenise",
    "enqueue": "bridge:enqueue",
    "enqueue_behind": "bridge:enqueue_behind",
    "status_10k": "bridge:reads",
    "redis_per_job": "bridge:redis_per_job",
    "overhead": "overhead:overhead",
    "overhead_chatty": "overhead:overhead_chatty",
    "overhead_slow_backend": "overhead:overhead_slow_backend",
    "overhead_dead_backend": "overhead:overhead_dead_backend",
    "start": "start:start",
    "fleet": "fleet.sizes:fleet",
    "gpu": "gpu_proof.benchmark:recipes",
}
"""Name on the command line, and the ``module:function(full)`` that gives its rows."""


def run(name: str, full: bool) -> list[Measure]:
    """The rows of one benchmark."""
    module, _, function = BENCHMARKS[name].partition(":")
    measures: list[Measure] = getattr(importlib.import_module(f"benchmarks.{module}"), function)(
        full
    )
    return measures


def table(measures: list[Measure]) -> Table:
    """The rows for people."""
    made = Table("name", "value", "unit", "baseline", "ratio (95%)", "target", "met")
    for measure in measures:
        row = measure.as_json()
        ratio = f"{row['ratio']:g}" if row["ratio"] is not None else ""
        if row["ratio_interval"]:
            low, high = row["ratio_interval"]
            ratio += f" ({low:g} to {high:g})"
        met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[measure.met]
        baseline = f"{row['baseline']:g}" if row["baseline"] is not None else ""
        target = row["target"] or ""
        made.add_row(row["name"], f"{row['value']:g}", row["unit"], baseline, ratio, target, met)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=os.environ.get("ONLY", ""), metavar="NAME[,NAME]")
    parser.add_argument("--full", action="store_true", default=os.environ.get("FULL") == "1")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    console = Console(width=None if sys.stdout.isatty() else 140)
    measures: list[Measure] = []
    failed = []
    for name in names:
        started = time.monotonic()
        console.print(f"{name} ...", end=" ")
        try:
            rows = run(name, options.full)
        except Exception:
            failed.append(name)
            console.print("[red]failed[/]")
            traceback.print_exc()
            continue
        measures += rows
        console.print(f"{time.monotonic() - started:.0f} s")
    console.print(table(measures))
    for measure in measures:
        if measure.note or measure.baseline_name:
            baseline = f"baseline: {measure.baseline_name}" if measure.baseline_name else ""
            console.print(f"  {measure.name}: {'; '.join(filter(None, [baseline, measure.note]))}")
    write(options.output, measures, full=options.full, failed=failed)
    console.print(f"written to {options.output}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
