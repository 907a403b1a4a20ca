"""Jobs in every state, for the page: the development backend, and a bridge that tells of them."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from tests.support.dev_backend import DevBackend
from tests.support.fake_bridge import Call, FakeBridge

STATES = ("queued", "running", "paused", "failed", "completed", "nan")
STEPS = 600
_LOG = (
    "[2026-11-30 10:00:00] Attempt 1 of job {job_id} on gpu-0",
    "[2026-11-30 10:00:01] WARNING 16 of 20 rows are dropped",
    "[2026-11-30 10:00:02] ERROR something went wrong",
    "[2026-11-30 10:00:03] {{'loss': 2.31, 'epoch': 0.5}}",
)
_TOKEN = {"Authorization": "Bearer t"}


class PageScene:
    """Context manager. ``url`` is the page's; ``bridge`` takes what its buttons send."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self.bridge = FakeBridge()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.bridge.answers["GET", "/api/training/jobs"] = self._listed

    def __enter__(self) -> Self:
        self._open.enter_context(self.bridge)
        bridge_url = f"http://127.0.0.1:{self.bridge.port}"
        self.home = Path(self._open.enter_context(TemporaryDirectory(prefix="page-scene-")))
        home = {"TRAINYARD_HOME": str(self.home), "DATASET_ROOTS": str(self.home)}
        self.backend = DevBackend(bridge_url, environment=home)
        self._open.enter_context(self.backend)
        self.url = self.backend.url
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def _listed(self, _: Call) -> tuple[int, Any]:
        return 200, {"jobs": list(self.jobs.values())}

    def add(self, state: str, job_id: str, **fields: Any) -> None:
        """A job in one of STATES, with all that it would have sent."""
        rate = fields.pop("learning_rate", 1e-3)
        training = {"method": "sft", "num_epochs": 3, "max_steps": STEPS, "learning_rate": rate}
        config = {"model": {"name": "Qwen/Qwen3-0.6B"}, "training": training}
        row = {"model_name": "Qwen/Qwen3-0.6B", "dataset_path": "gsm8k_train.jsonl", **fields}
        self.backend.create_job(job_id, "t", config, **row)
        reached = {"queued": 0, "running": 410, "paused": 240, "failed": 60}.get(state, STEPS)
        if reached:
            self._send(job_id, "PATCH", "status", {"status": "running"})
            self._send(job_id, "POST", "logs", {"logs": [t.format(job_id=job_id) for t in _LOG]})
        metrics = [_point(step, rate, state) for step in range(10, reached + 1, 10)]
        if metrics:
            body = {"job_id": job_id, "metrics": metrics}
            self.backend.call("POST", "/api/training/local/metrics", json=body, headers=_TOKEN)
            self._say(job_id, metrics)
        if state in ("paused", "failed", "completed"):
            error = "The data set has no rows." if state == "failed" else None
            self._send(job_id, "PATCH", "status", {"status": state, "error": error})
        self._tell(state, job_id, reached)

    def _say(self, job_id: str, metrics: list[dict[str, Any]]) -> None:
        asked = {"prompt": "What is the capital of France?", "ground_truth": "Paris."}
        said = [
            {**asked, "step": point["step"], "sample_index": 0, "epoch": point["epoch"]}
            | {"prediction": "Rome." if point["step"] < 300 else "<b>Paris</b>."}
            for point in metrics
            if point["step"] % 120 == 0
        ]
        if said:
            body = {"job_id": job_id, "predictions": said}
            self.backend.call("POST", "/api/training/local/predictions", json=body, headers=_TOKEN)

    def _send(self, job_id: str, method: str, what: str, body: dict[str, Any]) -> None:
        path = f"/api/training/local/{job_id}/{what}"
        self.backend.call(method, path, json=body, headers=_TOKEN)

    def _tell(self, state: str, job_id: str, reached: int) -> None:
        status = "running" if state == "nan" else state
        self.jobs[job_id] = job = {
            "job_id": job_id,
            "status": status,
            "slot": "gpu-0" if status == "running" else None,
            "elapsed_seconds": 1.2 * reached,
            "remaining_seconds": 1.2 * (STEPS - reached) if status == "running" else None,
            "current_step": reached,
            "total_steps": STEPS,
            "queue_position": 2 if status == "queued" else None,
            "estimated_start_seconds": 340.0 if status == "queued" else None,
            "waiting_reason": None,
            "error_hint": "Check that the file has rows." if status == "failed" else None,
            "warnings": [],
            "result": None,
        }
        if status == "completed":
            job["warnings"] = [
                {"kind": "trained_part", "sentence": "LoRA: 40,960 of 1.2 M parameters trained"},
                {"kind": "rows_dropped", "sentence": "16 of 20 rows are not trained on: too long"},
                {"kind": "overfitting", "sentence": "The eval loss rose from 2.1 to 2.4"},
            ]
            job["result"] = {
                **{"model_dir": "model", "first_eval_loss": 7.31, "last_eval_loss": 2.104},
                **{"train_loss": 1.93, "saved_step": 480, "dtype": "bfloat16"},
            }
            job["usage"] = {
                **{"slot_hours": 0.2, "gpu_hours": 0.4, "metered_hours": 0.2},
                **{"energy_kwh": 0.1534, "cost": 1.0614, "currency": "EUR"},
            }
            folder = self.home / "jobs" / job_id / "model"
            (folder / "merged").mkdir(parents=True)
            (folder / "merged/model.safetensors").write_bytes(bytes(12_800_000))
            (folder / "adapter_config.json").write_text("{}")
            (folder / "adapter_model.safetensors").write_bytes(bytes(1_200_000))
        steps = range(120, reached + 1, 120)
        checkpoints = [_checkpoint(step, is_latest=step == steps[-1]) for step in steps]
        answers = {f"status/{job_id}": job, f"checkpoints/{job_id}": {"checkpoints": checkpoints}}
        for path, answer in answers.items():
            self.bridge.answers["GET", f"/api/training/{path}"] = (200, answer)


def _point(step: int, rate: float, state: str) -> dict[str, Any]:
    point = {"step": step, "epoch": step // 200, "learning_rate": rate * (1 - step / (STEPS + 100))}
    point |= {"tokens_per_second": 3000 + 40 * math.sin(step), "samples_per_second": 12.5}
    seconds = 1.2 * step
    point["timestamp"] = f"2026-11-30T10:{int(seconds // 60):02}:{seconds % 60:06.3f}Z"
    if state != "nan" or step <= 420:
        point["train_loss"] = 1 + 6 * math.exp(-step / 150) + 0.15 * math.sin(step)
        point["grad_norm"] = 1 + math.sin(step) / 2
    if step % 80 == 0:
        point["eval_loss"] = 2 + 5.3 * math.exp(-step / 150) + max(0, step - 480) / 400
        point["perplexity"] = math.exp(point["eval_loss"])
    return point


def _checkpoint(step: int, *, is_latest: bool) -> dict[str, Any]:
    return {
        "path": f"checkpoints/checkpoint-{step}",
        "step": step,
        "epoch": step / 200,
        "eval_loss": 2 + 5.3 * math.exp(-step / 150),
        "train_loss": 1 + 6 * math.exp(-step / 150),
        "size_bytes": 1_210_000_000,
        "created_at": "2026-11-30T10:05:00Z",
        "is_best": step == 480,
        "is_latest": is_latest,
    }
