"""From a file of questions and answers to tokens, against TRL's own path over the same file.

    tokenise         rows a second, the first time
    tokenise_again   the same from the cache, in another process, against TRL's first time
    tokenise_long    seconds for one chat of 2,000 turns and 1.5 MB, and the memory it takes

Both start from the file, in a process of their own without its imports, and end with rows that the
trainer takes as they are: prompts and answers through the chat template, answers alone trained on.
TRL's path is ``SFTTrainer``'s on a data set of ``load_dataset`` in its conversational form.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measure import Measure, Target  # noqa: E402 - from the repository's root

ROWS, ROWS_FULL = 10_000, 60_000
RUNS, RUNS_FULL = 3, 5
MAX_LENGTH = 512
LONG_TURNS, LONG_TURN_CHARACTERS = 2_000, 750
LONG_SECONDS_MAX = 2.0


@contextmanager
def _materials(rows: int) -> Iterator[Path]:
    """A folder with a model and one file for each side, of the same questions and answers."""
    from tasks.demo.stdlib_dataset import stdlib_rows

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        functions = stdlib_rows(Path(sysconfig.get_paths()["stdlib"]))
        with (folder / "ours.jsonl").open("w") as ours, (folder / "trl.jsonl").open("w") as theirs:
            for number in range(rows):
                row = functions[number % len(functions)]
                question, answer = f"{number}: {row['instruction']}", row["output"]
                ours.write(json.dumps({"question": question, "answer": answer}) + "\n")
                chat = {
                    "prompt": [{"role": "user", "content": question}],
                    "completion": [{"role": "assistant", "content": answer}],
                }
                theirs.write(json.dumps(chat) + "\n")
        command = [sys.executable, "-m", "tasks.demo.tiny_model", "--out", str(folder / "model")]
        command += ["--dataset", str(folder / "ours.jsonl")]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        yield folder


def _timed(side: str, folder: Path, cache: Path) -> tuple[float, int]:
    """Seconds and trained tokens of one side, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tokenise", side, str(folder), str(cache)],
        cwd=ROOT,
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(cache / "hf"),
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        },
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, tokens = done.stdout.split()[-2:]
    return float(seconds), int(tokens)


def tokenise(full: bool) -> list[Measure]:
    """The rows of the table."""
    rows, runs = (ROWS_FULL, RUNS_FULL) if full else (ROWS, RUNS)
    rates: dict[str, list[float]] = {"first": [], "again": [], "trl": [], "trl again": []}
    with _materials(rows) as folder:
        for run in range(runs):
            ours, theirs = folder / f"ours-{run}", folder / f"trl-{run}"
            counts = set()
            for name, side, cache in (
                ("first", "ours", ours),
                ("trl", "trl", theirs),
                ("again", "ours", ours),
                ("trl again", "trl", theirs),
            ):
                seconds, tokens = _timed(side, folder, cache)
                rates[name].append(rows / seconds)
                counts.add(tokens)
            assert len(counts) == 1, f"the two sides train on other tokens: {counts}"
        long = [_timed("long", folder, folder / f"long-{run}") for run in range(runs)]
    trl_again = sorted(rates["trl again"])[runs // 2]
    baseline = {"baseline": rates["trl"], "baseline_name": "TRL's own path, the first time"}
    return [
        Measure(
            "tokenise",
            "rows/s",
            rates["first"],
            **baseline,
            target=Target("ratio", ">=", 2),
            note=f"{rows:,} rows, {tokens:,} tokens trained on by both",
        ),
        Measure(
            "tokenise_again",
            "rows/s",
            rates["again"],
            **baseline,
            target=Target("ratio", ">=", 100),
            note=f"TRL again, from its map cache: {trl_again:,.0f} rows/s",
        ),
        Measure(
            "tokenise_long",
            "s",
            [seconds for seconds, _ in long],
            target=Target("value", "<=", LONG_SECONDS_MAX),
            note=f"{max(memory for _, memory in long):,} MB of memory",
        ),
    ]


def _ours(folder: Path, cache: Path) -> tuple[float, int]:
    import datasets
    from transformers import AutoTokenizer

    from tasks.datasets.read_data import read_data
    from tasks.datasets.report import Report
    from tasks.datasets.sources.locate import DownloadLimits, locate_dataset
    from tasks.datasets.training_data import tokenise_data
    from trainyard.contract.parser import parse_request

    datasets.disable_progress_bars()
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    body = {
        "config": {"model": {"name": "-"}},
        "dataset_path": "ours.jsonl",
        "job_token": "none-for-a-benchmark",
    }
    config = parse_request(body).config
    report = Report("ours.jsonl", "sft")
    started = time.monotonic()
    found = locate_dataset("ours.jsonl", None, [str(folder)], cache)
    read = read_data(found, config, cache, report, DownloadLimits())
    data = tokenise_data(
        read, config, tokenizer, report, max_length=MAX_LENGTH, add_eos=True, cache_dir=cache
    )
    seconds = time.monotonic() - started
    return seconds, data.train.trained_tokens


def _long(folder: Path, cache: Path) -> tuple[float, int]:
    """Seconds and megabytes (10^6 bytes) of one long chat, beside what the imports take."""
    import resource

    import datasets
    import numpy
    from transformers import AutoTokenizer

    from tasks.datasets.row_kinds import ROW_KINDS
    from tasks.datasets.tokens.render import Rendering
    from tasks.datasets.tokens.tokenise import ChosenRows
    from tasks.datasets.tokens.tokenise import tokenise as tokenise_rows

    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    turns = [
        {
            "role": "assistant" if number % 2 else "user",
            "content": (f"{number}: def add(left, right): return left + right; " * 20)[
                :LONG_TURN_CHARACTERS
            ],
        }
        for number in range(LONG_TURNS)
    ]
    row = {**dict.fromkeys(ROW_KINDS["answers"].columns), "row": 1, "messages": json.dumps(turns)}
    rows = datasets.Dataset.from_list([row])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    chosen = ChosenRows(rows, numpy.arange(1), MAX_LENGTH, cache, "long")
    tokenise_rows(chosen, Rendering(tokenizer))
    seconds = time.monotonic() - started
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return seconds, more * 1024 // 10**6


def _trl(folder: Path, cache: Path) -> tuple[float, int]:
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    settings = SFTConfig(
        output_dir=str(cache / "out"),
        max_length=MAX_LENGTH,
        use_cpu=True,
        bf16=False,
        report_to="none",
    )
    started = time.monotonic()
    rows = load_dataset("json", data_files=str(folder / "trl.jsonl"), split="train")
    trainer = SFTTrainer(model, args=settings, train_dataset=rows, processing_class=tokenizer)
    seconds = time.monotonic() - started
    trained = sum(label != -100 for row in trainer.train_dataset["labels"] for label in row[1:])
    return seconds, trained


if __name__ == "__main__":
    run_side = {"ours": _ours, "long": _long, "trl": _trl}[sys.argv[1]]
    Path(sys.argv[3]).mkdir(exist_ok=True)
    print(*run_side(Path(sys.argv[2]), Path(sys.argv[3])))
