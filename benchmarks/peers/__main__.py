"""``make bench-peers``: the same small job beside ours, with other queues and as a bare script.

    python -m benchmarks.peers [--runs 5] [--only Trainyard,Celery] [--write-docs]

The table goes to the terminal and all figures to ``benchmarks/results/peers.json``;
``--write-docs`` puts the table into ``docs/comparison.md``. A system that cannot be started is a
note with the reason, and the exit code is 1 where something failed. Ctrl-C ends everything that
was started, and prints what there is.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.measure import RESULTS, machine
from benchmarks.peers import table
from benchmarks.peers.ours import LEASE_S, Trainyard
from benchmarks.peers.peers import KINDS, BareScript, Peer
from benchmarks.peers.rounds import Results, take
from benchmarks.peers.scenarios import JOBS
from benchmarks.peers.system import ROOT, Sources, System

DOCUMENT = ROOT / "docs" / "comparison.md"
Makers = dict[str, Callable[[Sources], System]]


def makers() -> Makers:
    """Every system by its name."""
    kinds = {kind.name: partial(Peer, kind) for kind in KINDS}
    return {table.OURS: partial(Trainyard, jobs=JOBS), BareScript.name: BareScript, **kinds}


def main() -> int:
    known = makers()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, metavar="N")
    parser.add_argument("--only", default="", metavar="NAME[,NAME]", help=", ".join(known))
    parser.add_argument("--write-docs", action="store_true", help=f"the table into {DOCUMENT.name}")
    parser.add_argument("--output", type=Path, default=RESULTS / "peers.json")
    options = parser.parse_args()
    by_lower = {name.lower(): name for name in known}
    asked = [name.strip().lower() for name in options.only.split(",") if name.strip()]
    if unknown := [name for name in asked if name not in by_lower]:
        parser.error(f"no system {', '.join(unknown)}; there are: {', '.join(known)}")
    names = [by_lower[name] for name in asked] or list(known)
    if options.write_docs and len(names) < len(known):
        parser.error("--write-docs writes the whole table: leave --only away")
    os.environ["PYTHONPATH"] = str(ROOT)  # of ours too, wherever it is started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 200)
    results, began = Results(names), machine()
    stopped = False
    with tempfile.TemporaryDirectory(prefix="peers-sources-") as folder:
        try:
            sources = Sources(Path(folder))
            systems = {name: partial(known[name], sources) for name in names}
            take(systems, options.runs, results, console.print)
        except KeyboardInterrupt:
            stopped = True
    rows, said = table.cells(results), table.notes(results, options.runs, LEASE_S)
    console.print(table.for_terminal(rows))
    console.print("\n".join(said), markup=False)
    if stopped:
        console.print("stopped: nothing is written")
        return 130
    options.output.parent.mkdir(exist_ok=True)
    found = {"machine": began, "runs": options.runs, "systems": table.as_json(results)}
    options.output.write_text(json.dumps(found, indent=1) + "\n")
    console.print(f"written to {options.output}")
    if options.write_docs:
        text = table.as_markdown(rows, said)
        DOCUMENT.write_text(table.between_marks(DOCUMENT.read_text(), text))
        console.print(f"written to {DOCUMENT}")
    return 1 if results.reasons or any("failed: " in c for row in rows for c in row) else 0


if __name__ == "__main__":
    sys.exit(main())
