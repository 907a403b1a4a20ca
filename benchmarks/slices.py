"""Two checkouts' trainings in slices: ``make bench-slices OTHER=/path/to/checkout ROUNDS=24``.

Turns of minutes do not show one part in a hundred on a shared machine. So the same job trains
through the workers of both checkouts at once, each in its own environment, and one is stopped while
the other goes on, for 0.7 s, in turns. A round, with new jobs, is one pair of values. Above 1 this
checkout is faster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

_SLICE_S, _SLICES = 0.7, 6
_ROUNDS_MIN, _ROUNDS_MAX = 5, 100


class Side:
    """One checkout's worker, in a process that runs this file from there."""

    def __init__(self, checkout: Path) -> None:
        command = [checkout / ".venv/bin/python", Path(__file__).resolve(), "--side"]
        self._process = subprocess.Popen(
            command, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ask()

    def ask(self, word: str = "") -> Any:
        """Say ``word``, if any, and wait for the answer. Raises JSONDecodeError if it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if word:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it: it ends with its input."""
        self._process.communicate()


def compare(this: Side, other: Side, rounds: int) -> tuple[list[float], list[float]]:
    """Steps per second of each round, here and there."""
    ours, theirs = list[float](), list[float]()
    for number in range(rounds):
        order = [this, other][:: -1 if number % 2 else 1]
        for side in order:
            side.ask("start")
        for turn in range(_SLICES):
            for side in order[:: -1 if turn % 2 else 1]:
                side.ask("slice")
        ours.append(this.ask("end"))
        theirs.append(other.ask("end"))
        print(f"{number + 1}: {ours[-1]:.2f} steps/s, {theirs[-1]:.2f} there", file=sys.stderr)
    return ours, theirs


def serve() -> None:
    """Be one side: the code of the working folder, in which only the benchmarks' names are used."""
    sys.path.insert(0, str(Path.cwd()))
    from benchmarks import overhead
    from benchmarks.lifecycle import bench
    from tests.support.stack import write_rows

    with bench(LEASE_SECONDS="60", OMP_NUM_THREADS="1", BENCH_LINES_PER_S="0") as on:
        overhead.make_model(on.stack.models / "small")
        write_rows(on.stack.datasets / overhead._ROWS, 400)
        for number in range(_ROUNDS_MAX):
            on.stack.backend.create_job(f"long-{number}", f"token-of-long-{number}")
        number = 0
        print(json.dumps("up"), flush=True)
        while sys.stdin.readline().strip() == "start":
            with overhead._through_the_worker(on, f"long-{number}") as arm:
                print(json.dumps("ready"), flush=True)
                while sys.stdin.readline().strip() == "slice":
                    arm.run_for(_SLICE_S)
                    print(json.dumps("ran"), flush=True)
            number += 1
            print(json.dumps(arm.steps_per_s), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, nargs="?", help="a checkout with its own environment")
    parser.add_argument("--rounds", type=int, default=24, metavar="N")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        serve()
        return 0
    if options.other is None:
        parser.error("which other checkout? Name its folder")
    if not _ROUNDS_MIN <= options.rounds <= _ROUNDS_MAX:
        parser.error(f"--rounds: {_ROUNDS_MIN} to {_ROUNDS_MAX}")
    root = Path(__file__).resolve().parents[1]
    sys.path.insert(0, str(root))
    from benchmarks.measure import Measure

    with ExitStack() as stack:
        sides = [Side(root), Side(options.other.resolve())]
        for side in sides:
            stack.callback(side.close)
        measure = Measure("overhead", "steps/s", *compare(*sides, options.rounds))
    low, high = measure.interval or (float("nan"), float("nan"))
    print(f"this / other: {measure.ratio:.4f} ({low:.4f} to {high:.4f}), {options.rounds} rounds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
