"""What a training through the worker costs beside the same Trainer in a bare script.

overhead                 steps per second, each on one thread of torch; the tokens of a step are
                         the same in both
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.lifecycle import ROOT, Bench, bench
from benchmarks.measure import Measure, Target
from tests.support.models import make_tiny_model
from tests.support.stack import wait_for, write_rows

_WARM_UP = 10
_SLICE_S, _SLICES = 0.7, 4
_ROUNDS, _ROUNDS_FULL = 16, 60
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


# ---------------------------------------------------------------- throughput


def overhead(full: bool = False) -> list[Measure]:
    return _overhead("overhead", full, lines_per_s=0)


def overhead_chatty(full: bool = False) -> list[Measure]:
    return _overhead("overhead_chatty", full, _LINES_PER_S)


def overhead_slow_backend(full: bool = False) -> list[Measure]:
    def slow(on: Bench) -> None:
        on.stack.backend.add_fault(latency_s=5.0, times=None)

    return _overhead("overhead_slow_backend", full, _LINES_PER_S, slow)


def overhead_dead_backend(full: bool = False) -> list[Measure]:
    def dead(on: Bench) -> None:
        on.stack.backend.stop(keep=True)

    return _overhead("overhead_dead_backend", full, _LINES_PER_S, dead)


def _overhead(
    name: str, full: bool, lines_per_s: int, disturb: Callable[[Bench], None] | None = None
) -> list[Measure]:
    """Rounds of a training through the worker and one bare, in slices of 0.7 s, in turns.

    On a shared machine the speed of the same script drifts by a tenth from one ten seconds to the
    next. So both live at once, and one of them is stopped (SIGSTOP) while the other goes on: with
    the training through the worker all that serves it, Redis too. Which comes first alternates.
    The memory that a process happens to get makes it faster or slower for all its life, so a
    round, with new processes, is one pair of values.
    """
    ours, bare = list[float](), list[float]()
    rounds = _ROUNDS_FULL if full else _ROUNDS
    settings = {"OMP_NUM_THREADS": "1", "BENCH_LINES_PER_S": str(lines_per_s)}
    with bench(LEASE_SECONDS="60", **settings) as on, _imported() as fork:
        model = make_model(on.stack.models / "small")
        rows = write_rows(on.stack.datasets / "bench.jsonl", 400)
        for number in range(rounds):
            on.stack.backend.create_job(f"long-{number}", f"token-of-long-{number}")
        if disturb:
            disturb(on)
        for number in range(rounds):
            with (
                _through_the_worker(on, f"long-{number}") as our_arm,
                _bare(fork, model, rows, lines_per_s) as bare_arm,
            ):
                for turn in range(_SLICES):
                    for arm in (our_arm, bare_arm) if turn % 2 else (bare_arm, our_arm):
                        arm.run_for(_SLICE_S)
            ours.append(our_arm.steps_per_s)
            bare.append(bare_arm.steps_per_s)
    what = "the same Trainer in a bare script" + (", printing the same" if lines_per_s else "")
    return [Measure(name, "steps/s", ours, bare, what, Target("ratio", ">=", 0.98))]


class _Arm:
    """A training that stands still but for its slices."""

    def __init__(
        self, processes: list[psutil.Process], steps: Callable[[], list[tuple[float, int]]]
    ) -> None:
        self._processes = processes
        self._steps = steps
        self._made, self._seconds = 0, 0.0
        wait_for("it has warmed up", lambda: len(steps()) >= _WARM_UP)
        self._stop()

    def run_for(self, seconds: float) -> None:
        """One slice: the steps that lie in it whole count."""
        begin = time.monotonic()
        self.go_on()
        time.sleep(seconds)
        self._stop()
        ends = [at for at, _ in self._steps() if at > begin]
        self._made += len(ends) - 1
        self._seconds += ends[-1] - ends[0]

    @property
    def steps_per_s(self) -> float:
        """Of all slices so far."""
        return self._made / self._seconds

    def go_on(self) -> None:
        for process in self._processes:
            process.resume()

    def _stop(self) -> None:
        for process in self._processes:
            process.suspend()


@contextmanager
def _through_the_worker(on: Bench, job_id: str) -> Iterator[_Arm]:
    body = on.stack.body(
        job_id,
        job_token=f"token-of-{job_id}",
        steps=1_000_000,
        model="small",
        dataset="bench.jsonl",
        training={**_SETTINGS, **_QUIET},
        data=_DATA,
    )
    on.stack.bridge.start(body)
    wait_for("it trains", lambda: on.steps(job_id))
    redis = psutil.Process(on.stack.redis_server.pid)
    arm = _Arm([*on.stack.processes(), redis], lambda: on.steps(job_id))
    try:
        yield arm
    finally:
        arm.go_on()
    on.end(job_id)


@contextmanager
def _bare(fork: subprocess.Popen[str], model: Path, rows: Path, lines_per_s: int) -> Iterator[_Arm]:
    with _plain_spec(model, rows, 1_000_000, lines_per_s) as (spec, steps):
        _train_in_fork(fork, spec)
        wait_for("it trains", lambda: _steps_in(steps))
        training = psutil.Process(fork.pid).children()
        try:
            yield _Arm(training, lambda: _steps_in(steps))
        finally:
            for process in training:
                process.kill()


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


def _train_in_fork(fork: subprocess.Popen[str], spec: Path) -> None:
    assert fork.stdin is not None
    fork.stdin.write(f"{spec}\n")
    fork.stdin.flush()


def _forked(fork: subprocess.Popen[str], model: Path, rows: Path) -> float:
    with _plain_spec(model, rows, 3) as (spec, steps):
        asked = time.monotonic()
        _train_in_fork(fork, spec)
        wait_for("it has trained", lambda: len(_steps_in(steps)) == 3)
        return _steps_in(steps)[0][0] - asked


def _fresh(model: Path, rows: Path) -> float:
    with _plain_spec(model, rows, 3) as (spec, steps):
        asked = time.monotonic()
        subprocess.run([*_SCRIPT, str(spec)], check=True, capture_output=True)
        return _steps_in(steps)[0][0] - asked
