"""What a training through the worker costs beside the same Trainer in a bare script.

throughput    steps per second, in pairs of runs, each on one thread of torch
start         `queued` with a free slot to the end of the first step, beside the same work in
              a process that has imported everything; and where the time goes, by phase
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.lifecycle import ROOT, Bench, bench
from benchmarks.measure import Measure, Target
from tests.support.models import make_tiny_model
from tests.support.stack import wait_for, write_rows
from tests.support.training import Preloaded, run_training

_STEPS, _WARM_UP = 60, 10
_SETTINGS = {"batch_size": 8, "learning_rate": 1e-3, "max_length": 64, "logging_steps": 10}
_QUIET = {"eval_strategy": "no", "save_strategy": "no"}
_BARE = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": _SETTINGS["batch_size"],
    "learning_rate": _SETTINGS["learning_rate"],
    "max_length": _SETTINGS["max_length"],
    "logging_steps": _SETTINGS["logging_steps"],
    "max_steps": _STEPS,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


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


def _through_the_worker(on: Bench, job_id: str) -> float:
    training = {**_SETTINGS, **_QUIET}
    data = {"eval_split": 0.0, "train_split": 1.0}
    on.stack.submit(
        job_id, steps=_STEPS, model="small", dataset="bench.jsonl", training=training, data=data
    )
    wait_for(f"{job_id} ends", lambda: len(on.steps(job_id)) >= _STEPS, timeout_s=300)
    on.wait_status(job_id, "completed")
    return steps_per_second(on.steps(job_id))


def _bare(model: Path, rows: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as name:
        folder = Path(name)
        steps = folder / "steps"
        spec = {
            "model": str(model),
            "dataset": str(rows),
            "output": str(folder / "output"),
            "steps_file": str(steps),
            "arguments": _BARE,
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        script = [sys.executable, str(ROOT / "benchmarks" / "plain_training.py")]
        subprocess.run(
            [*script, str(folder / "spec.json")],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
        )
        lines = [line.split() for line in steps.read_text().splitlines()]
        return steps_per_second([(float(at), int(step)) for at, step in lines])


def throughput(full: bool = False) -> list[Measure]:
    """Steps per second, through the worker and bare, one after the other in each pair."""
    ours, bare = [], []
    with bench(OMP_NUM_THREADS="1") as on:
        model = make_model(on.stack.models / "small")
        rows = write_rows(on.stack.home / "datasets" / "bench.jsonl", 400)
        for number in range(15 if full else 3):
            pair = [lambda n=number: ours.append(_through_the_worker(on, f"job-{n}"))]
            pair.append(lambda: bare.append(_bare(model, rows)))
            for run in pair if number % 2 else reversed(pair):
                run()
    target = Target("ratio", ">=", 0.98)
    return [Measure("throughput", "steps/s", ours, bare, "the same Trainer, bare", target)]


def start(full: bool = False) -> list[Measure]:
    """From `queued` to the end of the first step, and the phases of it."""
    ours: list[float] = []
    warm: list[float] = []
    phases: dict[str, list[float]] = {}
    with bench(OMP_NUM_THREADS="1") as on, Preloaded() as preloaded:
        write_rows(on.stack.home / "datasets" / "bench.jsonl", 400)
        for number in range(16 if full else 6):
            # The first of each fills the caches.
            job_id = f"start-{number}"
            asked = time.monotonic()
            _submit_short(on, job_id)
            took = on.first_step_after(job_id, asked) - asked
            on.wait_status(job_id, "completed")
            seconds = on.stack.bridge.status(job_id)["result"]["seconds"]
            first_step = _in_a_process_that_has_imported(on, preloaded, job_id)
            if number:
                ours.append(took)
                warm.append(first_step)
                for name, value in seconds.items():
                    phases.setdefault(name, []).append(value)
    more = [b - a for a, b in zip(warm, ours, strict=True)]
    return [
        Measure("start", "s", ours, warm, "a process that has imported everything"),
        Measure("start_more", "s more", more, target=Target("value", "<=", 0.5)),
        *(Measure(f"start_{name}", "s", values) for name, values in phases.items()),
    ]


def _submit_short(on: Bench, job_id: str) -> None:
    data = {"eval_split": 0.0, "train_split": 1.0}
    training = {**_SETTINGS, **_QUIET}
    on.stack.submit(job_id, steps=3, dataset="bench.jsonl", training=training, data=data)


def _in_a_process_that_has_imported(on: Bench, preloaded: Preloaded, job_id: str) -> float:
    """The same job in a fork of such a process, without the worker: seconds to its first step."""
    config: dict[str, Any] = {
        "model": {"name": "tiny"},
        "training": {**_SETTINGS, **_QUIET, "max_steps": 3, "logging_steps": 1},
        "data": {"eval_split": 0.0, "train_split": 1.0},
    }
    first: list[float] = []

    def note(event: Any, _: Any) -> None:
        if event.event == "metric" and not first:
            first.append(time.monotonic())

    asked = time.monotonic()
    run = run_training(
        on.stack.home,
        {"execution_id": f"bare-{job_id}", "dataset_path": "bench.jsonl", "config": config},
        models=on.stack.models,
        preloaded=preloaded,
        on_event=note,
    )
    assert run.outcome.outcome == "completed", run.log
    return first[0] - asked
