"""Run of the product: a training as a slot forks it, by its own choices, with when it said what."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu_proof.scene import MODEL, ROWS, Scene
from benchmarks.gpu_proof.steps.peak_memory import PeakMemory
from tests.support.training import Preloaded, Run, run_training
from trainyard.contract.events import Checkpoint, Metric, Phase, Progress

ALL_ROWS = {"eval_split": 0.0, "train_split": 1.0}


def settings(scene: Scene, kind: str, **training: Any) -> dict[str, Any]:
    """``config.training`` of a job of the proof; what it leaves out the worker chooses."""
    size = scene.size
    return {
        "use_lora": kind == "LoRA",
        "batch_size": size.batch,
        "max_steps": size.steps,
        "max_length": size.length,
        "learning_rate": 1e-5,
        "logging_steps": 1,
        "save_strategy": "no",
        "verify_result": False,
        **training,
    }


@dataclass(frozen=True)
class ProductRun:
    """``said``: (monotonic time, event) of all that the training reported."""

    run: Run
    said: list[tuple[float, Any]]
    peak_gb: float

    def tokens_per_s(self, warm_up: int) -> float:
        """Real tokens per second of training, after ``warm_up`` steps.

        From the rates since its start that the training reports: epochs over rows a second are the
        time, and that by tokens a second the tokens, each divided by the rows of an epoch.
        """
        points = [
            (point.epoch / point.samples_per_second, point.tokens_per_second)
            for point in self.run.of(Metric)
            if point.samples_per_second and point.tokens_per_second
        ]
        (began, first), (ended, last) = points[warm_up], points[-1]
        return float((ended * last - began * first) / (ended - began))

    def seconds_of(self, phase: str) -> float:
        """What a phase of the attempt took."""
        found = [event.seconds for _, event in self.said if isinstance(event, Phase)
                 and event.name == phase]  # fmt: skip
        if not found:
            raise RuntimeError(f"the training reported no phase {phase!r}")
        return float(found[-1])

    def checkpoint(self) -> tuple[float, float]:
        """Seconds from the last step before it to a verified checkpoint, and its bytes."""
        begins = [
            at for at, e in self.said if isinstance(e, Progress) and e.activity == "checkpoint"
        ]
        (at, event), *_ = [(at, e) for at, e in self.said if isinstance(e, Checkpoint)]
        return at - max(begin for begin in begins if begin <= at), event.size_bytes


def train(
    scene: Scene,
    preloaded: Preloaded,
    job_id: str,
    training: Mapping[str, Any],
    **sections: Any,
) -> ProductRun:
    """Train to the end. Raises RuntimeError with the job's own reason if it fails."""
    said: list[tuple[float, Any]] = []
    request = {
        "execution_id": job_id,
        "dataset_path": ROWS,
        "config": {
            "model": {"name": MODEL},
            "training": dict(training),
            "data": ALL_ROWS,
            **sections,
        },
    }
    with PeakMemory() as peak:
        run = run_training(
            scene.work,
            request,
            models=scene.models,
            preloaded=preloaded,
            on_event=lambda event, _: said.append((time.monotonic(), event)),
            gpu_expected="this proof is of a GPU" if scene.size.on_gpu else "",
        )
    print(run.log)
    error = run.outcome.error
    if error is not None:
        raise RuntimeError(f"{job_id}: {error.message} {error.hint}")
    shutil.rmtree(run.job_dir)  # a billion parameters with their moments
    return ProductRun(run, said, peak.gb)
