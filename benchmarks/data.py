"""Reading data sets: time and peak memory, first and again, beside pandas + Dataset.from_pandas.

Every reading is a process of its own, so that peak memory is its own; the files are in the page
cache. ``python -m benchmarks.data READER FILE CACHE`` is one of them.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Measure, Target
from trainyard.contract.units import KIB, MB

ROOT = Path(__file__).resolve().parents[1]
MOST_MEMORY_MB = {"csv": 800, "jsonl": 800, "parquet": 800, "json": 1200}
"""Above the interpreter with its imports, for a file of 500 MB."""

_WORDS = re.findall(
    r"\w+",
    "the of and to in is that for it as was with be by on not he his but at are this have from or "
    "had an they which one you were all her she there would their we him been has when who will",
)


def reading(full: bool) -> list[Measure]:
    """Rows for each format: 500 MB (DATA_MB), three times where ``full``, else once."""
    megabytes = int(os.environ.get("DATA_MB", "500"))
    measures: list[Measure] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("DATA_DIR")) as folder:
        for name, write in FILES.items():
            path = Path(folder, f"data.{name}")
            write(path, megabytes * 10**6)
            measures += _measures(name, path, megabytes, runs=3 if full else 1)
            path.unlink()
    return measures


def _measures(name: str, path: Path, megabytes: int, runs: int) -> list[Measure]:
    ours, again, pandas = [], [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir=path.parent) as cache:
            ours.append(_run("ours", path, cache))
            again.append(_run("ours", path, cache))
        pandas.append(_run("pandas", path, ""))
    note, baseline = f"{megabytes} MB", "pandas + Dataset.from_pandas"
    seconds, theirs = ([run["seconds"] for run in each] for each in (ours, pandas))
    memory, their_memory = ([run["peak_mb"] for run in each] for each in (ours, pandas))
    at_most_theirs = Target("ratio", "<=", 1)
    least = Target("value", "<=", MOST_MEMORY_MB[name])
    label = "json_array" if name == "json" else name
    return [
        Measure(f"data_{label}", "s", seconds, theirs, baseline, at_most_theirs, note=note),
        Measure(f"data_{label}_memory", "MB", memory, their_memory, baseline, least, note=note),
        Measure(
            f"data_{label}_again",
            "s",
            [run["seconds"] for run in again],
            target=Target("value", "<=", 0.2),
            note=note,
        ),
    ]


def _run(reader: str, path: Path, cache: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.data", reader, str(path), cache],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _text(draw: random.Random) -> str:
    return " ".join(draw.choices(_WORDS, k=draw.randint(20, 120)))


def _rows(size: int) -> Iterator[tuple[str, str]]:
    """Questions and answers of about ``size`` bytes in all."""
    draw = random.Random(0)
    texts = [_text(draw) for _ in range(5000)]
    written = number = 0
    while written < size:
        pair = texts[number * 7919 % 5000], texts[number * 104729 % 5000]
        yield pair
        written += len(pair[0]) + len(pair[1]) + 20
        number += 1


def write_csv(path: Path, size: int) -> None:
    with path.open("w") as file:
        file.write("id,question,answer\n")
        for number, (question, answer) in enumerate(_rows(size)):
            file.write(f'{number},"{question}, he said","{answer}"\n')


def write_chats(path: Path, size: int) -> None:
    with path.open("w") as file:
        for question, answer in _rows(size):
            messages = [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")


def write_array(path: Path, size: int) -> None:
    with path.open("w") as file:
        between = "["
        for question, answer in _rows(size):
            file.write(between + json.dumps({"question": question, "answer": answer}))
            between = ",\n"
        file.write("]\n")


def write_parquet(path: Path, size: int) -> None:
    import pyarrow
    import pyarrow.parquet

    draw = random.Random(0)
    rows = size // 700
    schema = pyarrow.schema([("question", pyarrow.string()), ("answer", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(path, schema, compression="none") as writer:
        group = min(rows, 200_000)
        for _ in range(0, rows, group):
            # Texts of their own, or the dictionary of Parquet would make the file small.
            columns = [[_text(draw) for _ in range(group)] for _ in range(2)]
            writer.write_table(pyarrow.table(columns, schema=schema))


FILES: dict[str, Callable[[Path, int], None]] = {
    "csv": write_csv,
    "jsonl": write_chats,
    "json": write_array,
    "parquet": write_parquet,
}


def _read_ours(path: Path, cache: Path) -> Callable[[], Any]:
    from tasks.datasets.parts import open_parts

    return lambda: len(open_parts(path, cache)[0])


def _read_pandas(path: Path, _: Path) -> Callable[[], Any]:
    import datasets
    import pandas

    readers: dict[str, Callable[[], Any]] = {
        ".csv": lambda: pandas.read_csv(path),
        ".jsonl": lambda: pandas.read_json(path, lines=True),
        ".json": lambda: pandas.read_json(path),
        ".parquet": lambda: pandas.read_parquet(path),
    }
    return lambda: len(datasets.Dataset.from_pandas(readers[path.suffix]()))


def _memory_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * KIB / MB for line in lines if line.startswith(field))


def main() -> None:
    reader, path, cache = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass
    read = {"ours": _read_ours, "pandas": _read_pandas}[reader](path, cache)
    before = _memory_mb("VmRSS")
    started = time.perf_counter()
    rows = read()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_mb": _memory_mb("VmHWM") - before, "rows": rows}))


if __name__ == "__main__":
    main()
