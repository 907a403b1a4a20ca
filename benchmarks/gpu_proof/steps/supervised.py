"""Supervised trainings: all services of the product as real processes, and the proof's model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.scene import MODEL, ROWS, Scene
from benchmarks.gpu_proof.steps.product_run import ALL_ROWS
from benchmarks.lifecycle import Bench, bench


@contextmanager
def services(scene: Scene) -> Iterator[Bench]:
    """Redis, backend, bridge and one worker."""
    with bench(MODEL_ROOTS=str(scene.models), DATASET_ROOTS=str(scene.datasets)) as on:
        try:
            yield on
        except BaseException:
            for path in (*on.stack.home.glob("*.log"), *on.stack.home.glob("jobs/*/train.log")):
                print(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}")
            raise


def submit(on: Bench, job_id: str, steps: int, **training: Any) -> None:
    """Start a job whose steps are the same bits each time: attention without atomics."""
    on.stack.submit(
        job_id,
        dataset=ROWS,
        sections={"model": {"name": MODEL, "attn_implementation": "eager"}},
        steps=steps,
        training={
            "max_length": 64,
            "learning_rate": 1e-4,
            "eval_strategy": "no",
            "save_strategy": "no",
            "verify_result": False,
            **training,
        },
        data=ALL_ROWS,
    )


def weights(on: Bench, job_id: str) -> str:
    """SHA-256 of what a job has trained."""
    folder: Path = on.stack.home / "jobs" / job_id / "model"
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise RuntimeError(f"no weights of {job_id} are in {folder}")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()
