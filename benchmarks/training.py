"""What a training through the worker costs beside the same Trainer in a bare script.

overhead                 steps per second in pairs of runs, each on one thread of torch; the
                         tokens of a step are the same in both
overhead_chatty          the same, both printing 1,000 lines a second
overhead_slow_backend    the same, and the backend takes 5 s for each answer
overhead_dead_backend    the same, and no backend is there
start                    `queued` with a free slot to the end of the first step, model and data
                         cached; beside the stock trainer in a fork of a process that has
                         imported everything, and beside a script from nothing
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.lifecycle import ROOT, Bench, bench
from benchmarks.measure import Measure, Target
from tests.support.models import make_tiny_model
from tests.support.stack import wait_for, write_rows

_STEPS, _WARM_UP = 150, 20
_LINES_PER_S = 1000
_SETTINGS = {"batch_size": 8, "learning_rate": 1e-3, "max_length": 64, "logging_steps": 10}
_QUIET = {"eval_strategy": "no", "save_strategy": "no"}
_DATA = {"eval_split": 0.0, "train_split": 1.0}
_BARE = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": _SETTINGS["batch_size"],
    "learning_rate": _SETTINGS["learning_rate"],
    "max_length": _SETTINGS["max_length"],
    "logging_steps": _SETTINGS["logging_steps"],
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}
_SCRIPT = [sys.executable, str(ROOT / "benchmarks" / "plain_training.py")]
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def make_model(folder: Path) -> Path:
    """A Llama of 5M parameters, whose steps take long enough to be training, not overhead."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tiny_model(folder)
    config = LlamaConfig.from_pretrained(folder)
    config.update({"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6})
    config.head_dim = config.hidden_size // config.num_attention_heads
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def steps_per_second(steps: list[tuple[float, int]]) -> float:
    """Between the end of the warm-up and the last step."""
    (first_at, first), (last_at, last) = steps[_WARM_UP], steps[-1]
    return (last - first) / (last_at - first_at)


# ---------------------------------------------------------------- throughput


def overhead(full: bool = False) -> list[Measure]:
    return _overhead("overhead", 15 if full else 7, lines_per_s=0)


def overhead_chatty(full: bool = False) -> list[Measure]:
    return _overhead("overhead_chatty", 15 if full else 5, lines_per_s=_LINES_PER_S)


def overhead_slow_backend(full: bool = False) -> list[Measure]:
    def slow(on: Bench) -> None:
        on.stack.backend.add_fault(latency_s=5.0, times=None)

    return _overhead("overhead_slow_backend", 15 if full else 5, _LINES_PER_S, slow)


def overhead_dead_backend(full: bool = False) -> list[Measure]:
    def dead(on: Bench) -> None:
        on.stack.backend.stop(keep=True)

    return _overhead("overhead_dead_backend", 15 if full else 5, _LINES_PER_S, dead)


def _overhead(name: str, pairs: int, lines_per_s: int, disturb: Any = None) -> list[Measure]:
    """Through the worker and bare, one after the other in each pair, in turns first."""
    ours: list[float] = []
    bare: list[float] = []
    hooks = {"OMP_NUM_THREADS": "1", "BENCH_LINES_PER_S": str(lines_per_s)}
    with bench(**hooks) as on:
        model = make_model(on.stack.models / "small")
        rows = write_rows(on.stack.datasets / "bench.jsonl", 400)
        jobs = [f"job-{number}" for number in range(pairs)]
        tokens = {job_id: f"token-of-{job_id}" for job_id in jobs}
        for job_id, token in tokens.items():
            on.stack.backend.create_job(job_id, token)
        if disturb:
            disturb(on)
        for number, (job_id, token) in enumerate(tokens.items()):
            if number % 2:
                bare.append(_bare(model, rows, lines_per_s))
            ours.append(_through_the_worker(on, job_id, token))
            if not number % 2:
                bare.append(_bare(model, rows, lines_per_s))
    target = Target("ratio", ">=", 0.98)
    what = "the same Trainer in a bare script" + (", printing the same" if lines_per_s else "")
    return [Measure(name, "steps/s", ours, bare, what, target)]


def _through_the_worker(on: Bench, job_id: str, token: str) -> float:
    body = on.stack.body(
        job_id,
        job_token=token,
        steps=_STEPS,
        model="small",
        dataset="bench.jsonl",
        training={**_SETTINGS, **_QUIET},
        data=_DATA,
    )
    on.stack.bridge.start(body)
    wait_for(f"{job_id} ends", lambda: len(on.steps(job_id)) >= _STEPS, timeout_s=300)
    on.wait_status(job_id, "completed")
    return steps_per_second(on.steps(job_id))


def _bare(model: Path, rows: Path, lines_per_s: int) -> float:
    with _plain_spec(model, rows, _STEPS, lines_per_s) as (spec, steps):
        with (spec.parent / "output.txt").open("wb") as output:
            subprocess.run(
                [*_SCRIPT, str(spec)],
                check=True,
                stdout=output,
                stderr=output,
                env={**os.environ, **_ONE_THREAD},
            )
        return steps_per_second(_steps_in(steps))


@contextmanager
def _plain_spec(
    model: Path, rows: Path, steps: int, lines_per_s: int = 0
) -> Iterator[tuple[Path, Path]]:
    """A specification for the script, and the file into which it writes its steps."""
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as name:
        folder = Path(name)
        spec = {
            "model": str(model),
            "dataset": str(rows),
            "output": str(folder / "output"),
            "steps_file": str(folder / "steps"),
            "arguments": {**_BARE, "max_steps": steps},
            "print_lines_per_s": lines_per_s,
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        yield folder / "spec.json", folder / "steps"


def _steps_in(path: Path) -> list[tuple[float, int]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [(float(at), int(step)) for at, step in map(str.split, lines)]


# ---------------------------------------------------------------- start


def start(full: bool = False) -> list[Measure]:
    """To the end of the first step, and where the time goes, by phase."""
    ours: list[float] = []
    imported: list[float] = []
    script: list[float] = []
    phases: dict[str, list[float]] = {}
    with bench(**_ONE_THREAD) as on, _imported() as fork:
        rows = write_rows(on.stack.datasets / "bench.jsonl", 400)
        model = on.stack.models / "tiny"
        for number in range(16 if full else 6):
            job_id = f"start-{number}"
            asked = time.monotonic()
            on.stack.submit(
                job_id,
                steps=3,
                dataset=rows.name,
                training={**_SETTINGS, **_QUIET},
                data=_DATA,
            )
            took = on.first_step_after(job_id, asked) - asked
            on.wait_status(job_id, "completed")
            forked, fresh = _forked(fork, model, rows), _fresh(model, rows)
            if number:  # the first of each fills the caches
                ours.append(took)
                imported.append(forked)
                script.append(fresh)
                seconds = on.stack.bridge.status(job_id)["result"]["seconds"]
                for name, value in seconds.items():
                    phases.setdefault(name, []).append(value)
    more = [b - a for a, b in zip(imported, ours, strict=True)]
    faster, at_most = Target("ratio", ">=", 5), Target("value", "<=", 0.8)
    return [
        Measure("start", "s", ours, imported, "imported, then forked", at_most),
        Measure("start_more", "s more", more, target=Target("value", "<=", 0.5)),
        Measure("start_vs_script", "s", ours, script, "a fresh script", faster, inverse=True),
        *(Measure(f"start_{name}", "s", values) for name, values in phases.items()),
    ]


@contextmanager
def _imported() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything, and forks for each specification it is told of."""
    with subprocess.Popen(
        [*_SCRIPT, "--imported"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **_ONE_THREAD},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "imported\n"
        yield process
        process.communicate()


def _forked(fork: subprocess.Popen[str], model: Path, rows: Path) -> float:
    assert fork.stdin is not None
    with _plain_spec(model, rows, 3) as (spec, steps):
        asked = time.monotonic()
        fork.stdin.write(f"{spec}\n")
        fork.stdin.flush()
        wait_for("it has trained", lambda: len(_steps_in(steps)) == 3)
        return _steps_in(steps)[0][0] - asked


def _fresh(model: Path, rows: Path) -> float:
    with _plain_spec(model, rows, 3) as (spec, steps):
        asked = time.monotonic()
        subprocess.run([*_SCRIPT, str(spec)], check=True, capture_output=True)
        return _steps_in(steps)[0][0] - asked
